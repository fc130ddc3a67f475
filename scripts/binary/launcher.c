/* The single file: it carries everything packed, unpacks it once into a directory of its user, and becomes the program.
 *
 * PyInstaller's own single file unpacks 80 MB into /tmp at every start, stays as a parent in front of the server, and
 * leaves them there when it is killed. This one unpacks at the first start only, all later ones take a few
 * milliseconds, and as it is replaced by the program (execve), signals and exit statuses are the program's own.
 *
 * The directory is named by the content. It is used only when it, and each directory above it, belongs to this user or
 * to root and nobody else may write there: else somebody could put a program of theirs into our place. Whoever unpacks
 * holds the lock, writes to another name, and renames at the end. A running program holds a shared lock on its
 * directory, so that nobody removes it: not a newer version that cleans up, and not systemd-tmpfiles, which respects
 * such locks, too.
 *
 * Nothing waits for the disk: fsync of 500 files takes one to four seconds on a busy one. Instead the directory says in
 * which boot of the system it was made. At the first start after another boot, when a power cut may have taken what was
 * not on the disk, everything is compared with what is packed, once (0.4 s), and made again if it differs. */

#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <zlib.h>

struct entry {
    const char *path;
    char kind; /* d, f, x (executable) or l */
    long size_bytes;
    const char *target; /* of a link */
};

/* entries[], CONTENT (PREFIX, the version, and the hash of all that is packed), PROGRAM (its path) and GLIBC (the
 * version that it needs): made by pack.py */
#include "entries.h"

#ifndef SERVICE_CACHE /* tests have another */
#define SERVICE_CACHE "/var/cache/imgpro-lite" /* CacheDirectory= of the unit; commands of its user share it */
#endif
#define COUNT (sizeof entries / sizeof *entries)
#define CHUNK_BYTES (256 * 1024)
#define TEXT_BYTES 64 /* of BOOT */
#define BOOT "boot"
#define COMPARED "compared after another boot\n"
#define ROOT_BYTES (PATH_MAX - 300) /* so that the name of anything in it, with 255 at most, fits into PATH_MAX */

/* The regular files one after the other, compressed. */
__asm__(".section .rodata\n.global payload\n.global payload_end\n"
        "payload: .incbin \"payload.z\"\npayload_end: .byte 0\n.previous\n");
extern const unsigned char payload[], payload_end[];

/* Why no directory could be used, one reason a line. */
static char reasons[8192];

static void note(const char *format, ...) {
    size_t used = strlen(reasons);
    va_list values;
    va_start(values, format);
    vsnprintf(reasons + used, sizeof reasons - used, format, values);
    va_end(values);
}

static int fails(const char *path) {
    note("  %s: %s\n", path, errno == EBADMSG ? "this file is damaged, copy it again" : strerror(errno));
    return -1;
}

/* Make a directory, and those above it, for this user alone. */
static int make_directories(const char *path) {
    char part[PATH_MAX];
    snprintf(part, sizeof part, "%s", path);
    for (char *slash = part + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = 0;
        if (mkdir(part, 0700) && errno != EEXIST && access(part, F_OK)) return fails(part);
        *slash = '/';
    }
    return mkdir(part, 0700) && errno != EEXIST ? fails(part) : 0;
}

/* Whether nobody but this user and root can change what is at a path without links. */
static int is_safe(const char *path) {
    char part[PATH_MAX];
    struct stat about;
    snprintf(part, sizeof part, "%s", path);
    for (int is_last = 1;; is_last = 0) {
        if (lstat(*part ? part : "/", &about)) {
            fails(part);
            return 0;
        }
        int is_shared = about.st_mode & 022 && (is_last || !(about.st_mode & S_ISVTX)); /* /tmp may be above */
        if ((about.st_uid != geteuid() && about.st_uid != 0) || is_shared) {
            note("  %s: somebody else may write to %s\n", path, *part ? part : "/");
            return 0;
        }
        if (!*part) return 1;
        *strrchr(part, '/') = 0;
    }
}

/* Whether all files are there with their sizes: something that cleans up may have taken some. */
static int is_whole(int directory) {
    struct stat about;
    for (size_t i = 0; i < COUNT; i++) {
        if (fstatat(directory, entries[i].path, &about, AT_SYMLINK_NOFOLLOW)) return 0;
        char kind = entries[i].kind;
        mode_t type = kind == 'd' ? S_IFDIR : kind == 'l' ? S_IFLNK : S_IFREG;
        if ((about.st_mode & S_IFMT) != type || (type == S_IFREG && about.st_size != entries[i].size_bytes)) return 0;
    }
    return 1;
}

static int remove_one(const char *path, const struct stat *about, int flag, struct FTW *place) {
    (void)about, (void)flag, (void)place;
    return remove(path);
}

static void remove_tree(const char *path) {
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* The next bytes of the stream; -1 with errno. */
static int next_bytes(z_stream *stream, unsigned char *chunk, long size_bytes) {
    stream->next_out = chunk;
    stream->avail_out = size_bytes;
    while (stream->avail_out) {
        int state = inflate(stream, Z_NO_FLUSH);
        if (state != Z_OK && !(state == Z_STREAM_END && !stream->avail_out)) return errno = EBADMSG, -1;
    }
    return 0;
}

/* Write them to a file, or read as many from it and compare; -1 with errno. */
static int pass_bytes(int file, unsigned char *chunk, long size_bytes, int compares) {
    unsigned char found[CHUNK_BYTES];
    for (long done = 0, now; done < size_bytes; done += now) {
        now = compares ? read(file, found, size_bytes - done) : write(file, chunk + done, size_bytes - done);
        if (now < 0) return -1;
        if (compares && (!now || memcmp(found, chunk + done, now))) return errno = EBADMSG, -1;
    }
    return 0;
}

static int pass_file(int directory, const struct entry *entry, z_stream *stream, unsigned char *chunk, int compares) {
    int flags = compares ? O_RDONLY : O_WRONLY | O_CREAT | O_EXCL;
    int file = openat(directory, entry->path, flags | O_NOFOLLOW | O_CLOEXEC, entry->kind == 'x' ? 0700 : 0600);
    if (file < 0) return -1;
    int failed = 0;
    for (long left = entry->size_bytes; left > 0 && !failed; left -= CHUNK_BYTES) {
        long now = left < CHUNK_BYTES ? left : CHUNK_BYTES;
        failed = next_bytes(stream, chunk, now) || pass_bytes(file, chunk, now, compares);
    }
    return close(file) || failed ? -1 : 0;
}

/* Write everything into a directory, or compare everything in it. */
static int pass_all(int directory, int compares) {
    z_stream stream = {.next_in = (unsigned char *)payload, .avail_in = payload_end - payload};
    unsigned char *chunk = malloc(CHUNK_BYTES);
    int failed = !chunk || inflateInit(&stream) != Z_OK;
    for (size_t i = 0; i < COUNT && !failed; i++) {
        const struct entry *entry = &entries[i];
        if (entry->kind == 'f' || entry->kind == 'x') failed = pass_file(directory, entry, &stream, chunk, compares);
        else if (compares) continue; /* is_whole has seen it */
        else if (entry->kind == 'd') failed = mkdirat(directory, entry->path, 0700);
        else failed = symlinkat(entry->target, directory, entry->path);
    }
    int reason = errno;
    free(chunk);
    inflateEnd(&stream);
    return failed ? errno = reason, -1 : 0;
}

/* Read a short file, as text; empty if there is none. */
static void read_text(int directory, const char *path, char *text) {
    int file = openat(directory, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    ssize_t size = file < 0 ? 0 : read(file, text, TEXT_BYTES - 1);
    text[size < 0 ? 0 : size] = 0;
    if (file >= 0) close(file);
}

static int write_text(int directory, const char *path, const char *text) {
    int file = openat(directory, path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    int failed = file < 0 || write(file, text, strlen(text)) < 0;
    return (file >= 0 && close(file)) || failed ? -1 : 0;
}

/* Whether what was written can still be there as it was written; see above. */
static int is_durable(int directory) {
    char said[TEXT_BYTES], boot[TEXT_BYTES];
    read_text(directory, BOOT, said);
    read_text(AT_FDCWD, "/proc/sys/kernel/random/boot_id", boot);
    if (!strcmp(said, COMPARED) || (*boot && !strcmp(said, boot))) return 1;
    if (pass_all(directory, 1)) return 0;
    write_text(directory, BOOT, COMPARED); /* read from the disk after a boot, so it is there for good */
    return 1;
}

/* Write everything into a new directory. */
static int unpack(const char *path) {
    char boot[TEXT_BYTES];
    read_text(AT_FDCWD, "/proc/sys/kernel/random/boot_id", boot);
    int directory = mkdir(path, 0700) ? -1 : open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int failed = directory < 0 || pass_all(directory, 0) || write_text(directory, BOOT, boot);
    int reason = errno;
    if (directory >= 0) close(directory);
    return failed ? errno = reason, fails(path) : 0;
}

/* The directory, open and with a shared lock that lasts as long as the program, if everything is in it; else -1. */
static int open_whole(const char *path) {
    struct stat opened, named;
    int directory = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (directory < 0) return -1;
    flock(directory, LOCK_SH); /* where directories cannot be locked (NFS), there is nothing to be done about it */
    if (!fstat(directory, &opened) && !lstat(path, &named) && opened.st_ino == named.st_ino && is_whole(directory) &&
        is_durable(directory))
        return directory;
    close(directory);
    return -1;
}

/* Remove other versions, unless they are running. The caller has the lock. */
static void clean_up(const char *root) {
    char path[PATH_MAX];
    struct dirent *found;
    DIR *list = opendir(root);
    while (list && (found = readdir(list))) {
        if (strncmp(found->d_name, PREFIX, strlen(PREFIX)) || !strcmp(found->d_name, CONTENT)) continue;
        snprintf(path, sizeof path, "%s/%s", root, found->d_name);
        int directory = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (directory < 0) continue;
        if (!flock(directory, LOCK_EX | LOCK_NB)) remove_tree(path);
        close(directory);
    }
    if (list) closedir(list);
}

/* Unpack to where it belongs: once, however many start at the same time. The open directory, or -1. */
static int unpack_once(const char *root, const char *path) {
    char name[PATH_MAX];
    snprintf(name, sizeof name, "%s/lock", root);
    int lock = open(name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (lock < 0 || flock(lock, LOCK_EX)) return fails(name);
    int directory = open_whole(path);
    if (directory < 0) {
        snprintf(name, sizeof name, "%s/unfinished", root);
        remove_tree(name);
        clean_up(root); /* first, as the disk may be full of them */
        remove_tree(path);
        if (!unpack(name) && rename(name, path)) fails(path);
        directory = open_whole(path);
        remove_tree(name);
    }
    close(lock);
    return directory;
}

/* The directory of ours below another one, without links, if nobody else can change what is in it; else -1. */
static int find_root(const char *parent, const char *name, char *root) {
    char wanted[PATH_MAX], real[PATH_MAX];
    struct stat about;
    struct statvfs disk;
    if (parent[0] != '/') {
        note("  %s: not an absolute path\n", parent);
        return -1;
    }
    if (snprintf(wanted, sizeof wanted, "%s/%s", parent, name) >= PATH_MAX) return errno = ENAMETOOLONG, fails(parent);
    if (make_directories(wanted)) return -1;
    if (lstat(wanted, &about) || !realpath(wanted, real)) return fails(wanted);
    if (snprintf(root, ROOT_BYTES, "%s", real) >= ROOT_BYTES) return errno = ENAMETOOLONG, fails(wanted);
    if (!S_ISDIR(about.st_mode)) { /* a link could lead to a directory of ours that is for something else */
        note("  %s: not a directory\n", wanted);
        return -1;
    }
    if (!is_safe(root)) return -1;
    if (!statvfs(root, &disk) && disk.f_flag & ST_NOEXEC) {
        note("  %s: programs may not be run from this file system (noexec)\n", root);
        return -1;
    }
    return 0;
}

/* Run what is unpacked below a directory, or unpack it there first. Returns only when that is not possible. */
static void run_below(const char *parent, const char *name, char **argv, mode_t given_umask) {
    char root[ROOT_BYTES], path[PATH_MAX];
    if (find_root(parent, name, root)) return;
    snprintf(path, sizeof path, "%s/%s", root, CONTENT);
    int directory = open_whole(path);
    if (directory < 0) directory = unpack_once(root, path);
    if (directory < 0) return;
    snprintf(path, sizeof path, "%s/%s/%s", root, CONTENT, PROGRAM);
    umask(given_umask);
    execv(path, argv);
    if (errno == ENOENT) /* it is there: what is missing is the loader that it names */
        note("  %s: this system has no GNU C library (glibc); %s or newer is needed\n", path, GLIBC);
    else
        fails(path);
    umask(0077);
    close(directory);
}

/* Whether a directory is there and belongs to this user. */
static int is_own(const char *path) {
    struct stat about;
    return !lstat(path, &about) && S_ISDIR(about.st_mode) && about.st_uid == geteuid();
}

int main(int argc, char **argv) {
    (void)argc;
    char own[PATH_MAX], name[64], caches[PATH_MAX], first[PATH_MAX];
    const char *chosen = getenv("IMGPRO_UNPACK_DIR"), *service = getenv("CACHE_DIRECTORY"); /* systemd.exec(5) */
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    mode_t given_umask = umask(0077);
    ssize_t length = readlink("/proc/self/exe", own, sizeof own - 1);
    if (length > 0) {
        own[length] = 0;
        setenv("_IMGPRO_LITE_FILE", own, 1); /* for commands that say how to run us */
    }
    if (chosen && *chosen) {
        run_below(chosen, "imgpro-lite", argv, given_umask);
    } else {
        if (service && *service) {
            snprintf(first, sizeof first, "%.*s", (int)strcspn(service, ":"), service); /* there may be several */
            run_below(first, "imgpro-lite", argv, given_umask);
        }
        if (is_own(SERVICE_CACHE)) run_below(SERVICE_CACHE, "imgpro-lite", argv, given_umask);
        if (cache && *cache) run_below(cache, "imgpro-lite", argv, given_umask);
        snprintf(caches, sizeof caches, "%s/.cache", home ? home : "");
        if (home && *home && (!cache || !*cache)) run_below(caches, "imgpro-lite", argv, given_umask);
        snprintf(name, sizeof name, "imgpro-lite-%ld", (long)geteuid());
        run_below("/var/tmp", name, argv, given_umask);
        run_below("/tmp", name, argv, given_umask);
    }
    fprintf(stderr, "imgpro-lite: The program unpacks itself at its first start, and could not:\n%s", reasons);
    fprintf(stderr, "Name a directory of yours with %ld MB free in IMGPRO_UNPACK_DIR.\n", UNPACKED_BYTES / 1000000 + 1);
    return 1;
}
