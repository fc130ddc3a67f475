/* In place of libx265, which is under the GPL and is used for nothing here: pictures are never written as HEIC. libheif
 * asks it for an encoder, and is told that there is none. Reading HEIC is the work of libde265. */

#include <stddef.h>

/* The number is that of the library's interface; pack.py checks that libheif wants this one. */
const void *x265_api_get_217(int bit_depth) {
    (void)bit_depth;
    return NULL;
}

void x265_cleanup(void) {}
