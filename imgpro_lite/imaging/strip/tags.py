"""The tags of TIFF and EXIF that are kept. Whatever is not here goes."""

XMP = 700
IPTC = 33723
PHOTOSHOP = 34377
EXIF_POINTER = 34665
INTEROPERABILITY_POINTER = 40965
SUB_DIRECTORIES = 330
ORIENTATION = 274
WIDTH, LENGTH, BITS_PER_SAMPLE, COMPRESSION = 256, 257, 258, 259
SAMPLES_PER_PIXEL, ROWS_PER_STRIP, TILE_WIDTH, TILE_LENGTH = 277, 278, 322, 323

# Where coded pixels are, and how many bytes of them: strips, tiles, and one JPEG as old files and thumbnails have it.
STRIPS = (273, 279)
TILES = (324, 325)
ONE_JPEG = (513, 514)
DATA_RANGES = (STRIPS, TILES, ONE_JPEG)
# The tables of such an old JPEG, by tag: so many bytes at each of the offsets (TIFF 6.0, section 22).
OLD_JPEG_TABLES = {519: 64, 520: 16 + 256, 521: 16 + 256}

# What decoding a picture or showing its colours may need: TIFF 6.0 and its supplements, libtiff's own, and what raw
# files in the DNG format have (DNG 1.7), but for their makers' private data, serial numbers, names and dates.
PICTURE = frozenset(
    {
        *(254, 255, 256, 257, 258, COMPRESSION, 262, 263, 264, 265, 266, ORIENTATION, 277, 278, 280, 281, 282, 283),
        *(284, 286, 287, 290, 291, 292, 293, 296, 297, 301, 317, 318, 319, 320, 321, 322, 323, 326, 327, 328),
        *(SUB_DIRECTORIES, 332, 334, 336, 338, 339, 340, 341, 342, 343, 344, 345, 346, 347, 433, 434, *STRIPS, *TILES),
        *(512, *ONE_JPEG, 515, 517, 518, *OLD_JPEG_TABLES, 529, 530, 531, 532, 559),
        *(32995, 32996, 32997, 32998, 33421, 33422, 34675, 34892, 34908, 34909, 34910, 37439, 50674),
        *range(50706, 50735),
        *(50738, 50739, 50778, 50779, 50829, 50830, 50879, *range(50931, 50965), *range(50972, 50983)),
        *(51008, 51009, 51022, 51041, *range(51089, 51112), 51125),
    }
) - {50708, 50709}

# What a person or a camera told, in a picture's directory or in that of EXIF (EXIF 3.0), less any place: description,
# maker, times, exposure, lens. No maker notes (37500): cameras write what they like there, some of them places.
TOLD = frozenset(
    {
        *(269, 270, 271, 272, 285, 305, 306, 315, 316, 333, 33432, 18246, 18249, *range(40091, 40096)),
        *(33434, 33437, 34850, 34852, 34855, 34856, *range(34864, 34870), 36864, 36867, 36868, *range(36880, 36883)),
        *(37121, 37122, *range(37377, 37387), 37396, 37510, *range(37520, 37523), *range(37888, 37894)),
        *(*range(40960, 40965), 41483, 41484, 41486, 41487, 41488, 41492, 41493, 41495, *range(41728, 41731)),
        *(*range(41985, 41997), 42016, *range(42032, 42045), *range(42080, 42083), 42240),
        *(XMP, IPTC, PHOTOSHOP, EXIF_POINTER, INTEROPERABILITY_POINTER),
    }
)
INTEROPERABILITY = frozenset((1, 2, 4096, 4097, 4098))
