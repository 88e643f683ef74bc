/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Formats and colours: between caps of GStreamer and OBS. */
#include "obs-shm2.h"

static const struct {
	const char *name;
	enum video_format format;
} FORMATS[] = {
    {"I420", VIDEO_FORMAT_I420},
    {"NV12", VIDEO_FORMAT_NV12},
    {"YVYU", VIDEO_FORMAT_YVYU},
    {"YUY2", VIDEO_FORMAT_YUY2},
    {"UYVY", VIDEO_FORMAT_UYVY},
    {"RGBA", VIDEO_FORMAT_RGBA},
    {"BGRA", VIDEO_FORMAT_BGRA},
    {"BGRx", VIDEO_FORMAT_BGRX},
    {"BGR", VIDEO_FORMAT_BGR3},
    {"GRAY8", VIDEO_FORMAT_Y800},
    {"Y444", VIDEO_FORMAT_I444},
    {"Y42B", VIDEO_FORMAT_I422},
    {"A420", VIDEO_FORMAT_I40A},
    {"A422", VIDEO_FORMAT_I42A},
    {"A444", VIDEO_FORMAT_YUVA},
    /* What OBS calls AYUV begins with V. */
    {"VUYA", VIDEO_FORMAT_AYUV},
    {"P010_10LE", VIDEO_FORMAT_P010},
    {"I420_10LE", VIDEO_FORMAT_I010},
    {"I422_10LE", VIDEO_FORMAT_I210},
    {"Y444_12LE", VIDEO_FORMAT_I412},
    {"A444_12LE", VIDEO_FORMAT_YA2L},
};
#define FORMAT_COUNT (sizeof FORMATS / sizeof *FORMATS)

/* GStreamer's numbers. */
enum { RANGE_FULL = 1 };
enum { MATRIX_RGB = 1, MATRIX_709 = 3, MATRIX_601 = 4, MATRIX_2020 = 6 };
enum { TRANSFER_PQ = 14, TRANSFER_HLG = 15 };
/* OBS refuses larger textures on most cards; sizes of a region are not to be trusted. */
#define LARGEST 16384

const char *video_format_name(enum video_format format)
{
	for (size_t i = 0; i < FORMAT_COUNT; i++)
		if (FORMATS[i].format == format)
			return FORMATS[i].name;
	return NULL;
}

static enum video_format format_of(const char *name)
{
	for (size_t i = 0; i < FORMAT_COUNT; i++)
		if (strcmp(FORMATS[i].name, name) == 0)
			return FORMATS[i].format;
	return VIDEO_FORMAT_NONE;
}

/* The colour space by the matrix of the caps; false for a matrix that OBS does not have. */
static bool space_of(const shm2_video *video, bool is_yuv, enum video_colorspace *space)
{
	bool is_hlg = video->color_transfer == TRANSFER_HLG;
	bool is_hdr = is_hlg || video->color_transfer == TRANSFER_PQ;
	if (!is_yuv) {
		*space = is_hdr ? (is_hlg ? VIDEO_CS_2100_HLG : VIDEO_CS_2100_PQ) : VIDEO_CS_SRGB;
		return true;
	}
	switch (video->color_matrix) {
	case MATRIX_601:
		*space = VIDEO_CS_601;
		return true;
	case MATRIX_709:
		*space = VIDEO_CS_709;
		return true;
	case MATRIX_2020:
		*space = is_hlg ? VIDEO_CS_2100_HLG : VIDEO_CS_2100_PQ;
		return true;
	default:
		return false;
	}
}

static bool set_colors(const shm2_video *video, struct obs_source_frame2 *picture, char why[SENTENCE])
{
	enum video_colorspace space;
	bool is_yuv = format_is_yuv(picture->format) || picture->format == VIDEO_FORMAT_Y800;
	/* A picture of luma alone needs a range and no matrix. */
	bool needs_matrix = format_is_yuv(picture->format);
	if (!space_of(video, needs_matrix, &space)) {
		snprintf(why, SENTENCE,
			 "OBS has no colour matrix for %s of %s: convert to colorimetry=bt709 or bt601 before shm2sink",
			 video->format, video->colorimetry);
		return false;
	}
	if (picture->format == VIDEO_FORMAT_Y800)
		space = VIDEO_CS_709;
	/* An unknown range is the usual one of the kind of format. */
	bool is_full = video->color_range == RANGE_FULL || (!is_yuv && video->color_range == 0);
	picture->range = is_full ? VIDEO_RANGE_FULL : VIDEO_RANGE_PARTIAL;
	picture->trc = video->color_transfer == TRANSFER_PQ    ? VIDEO_TRC_PQ
		       : video->color_transfer == TRANSFER_HLG ? VIDEO_TRC_HLG
							       : VIDEO_TRC_DEFAULT;
	return video_format_get_parameters_for_format(space, picture->range, picture->format, picture->color_matrix,
						      picture->color_range_min, picture->color_range_max);
}

void scratch_free(struct scratch *scratch)
{
	for (size_t i = 0; i < MAX_AV_PLANES; i++)
		bfree(scratch->planes[i]);
}

/* OBS reads whole strides, also of the last row, which may end with the frame before that: then its rows are copied. */
static const uint8_t *copy_rows(uint8_t **to, const uint8_t *from, uint64_t stride, size_t row_bytes, uint32_t rows)
{
	*to = brealloc(*to, row_bytes * rows);
	for (uint32_t row = 0; row < rows; row++)
		memcpy(*to + row * row_bytes, from + row * stride, row_bytes);
	return *to;
}

/* Plane `i`, from the first pixel that is to be shown. */
static bool set_plane(const shm2_frame *frame, uint32_t i, const shm2_video *video, struct obs_source_frame2 *picture,
		      uint8_t **scratch)
{
	shm2_plane plane;
	if (shm2_frame_plane(frame, i, &plane, sizeof plane) != SHM2_OK || plane.stride > UINT32_MAX)
		return false;
	/* A plane with fewer rows than the picture is subsampled. */
	uint64_t y = (uint64_t)video->visible_y * plane.rows / video->height;
	uint64_t x = (uint64_t)(video->visible_x / plane.element_pixels) * plane.element_bytes;
	if (y >= plane.rows || x >= plane.row_bytes)
		return false;
	uint32_t rows = plane.rows - (uint32_t)y;
	const uint8_t *first = plane.data + y * plane.stride + x;
	picture->linesize[i] = (uint32_t)plane.stride;
	if (plane.offset + (y + rows) * plane.stride + x > shm2_frame_size(frame)) {
		picture->linesize[i] = (uint32_t)(plane.row_bytes - x);
		first = copy_rows(scratch, first, plane.stride, picture->linesize[i], rows);
	}
	picture->data[i] = (uint8_t *)first;
	return true;
}

bool video_from_frame(const shm2_frame *frame, struct obs_source_frame2 *picture, struct scratch *scratch,
		      char why[SENTENCE])
{
	shm2_video video;
	memset(picture, 0, sizeof *picture);
	if (!frame_is_raw(frame, SHM2_MEDIA_VIDEO, why))
		return false;
	if (shm2_frame_video(frame, &video, sizeof video) != SHM2_OK) {
		snprintf(why, SENTENCE, "%s", shm2_last_error());
		return false;
	}
	picture->format = format_of(video.format);
	if (picture->format == VIDEO_FORMAT_NONE) {
		snprintf(why, SENTENCE,
			 "OBS cannot show the format %s: put videoconvert and NV12, I420 or BGRA before shm2sink",
			 video.format);
		return false;
	}
	if (strcmp(video.interlace_mode, "alternate") == 0) {
		snprintf(why, SENTENCE,
			 "OBS cannot show single fields (interlace-mode=alternate): deinterlace before shm2sink");
		return false;
	}
	if (video.visible_width == 0 || video.visible_height == 0 || video.visible_width > LARGEST ||
	    video.visible_height > LARGEST) {
		snprintf(why, SENTENCE,
			 "OBS cannot show %ux%u, but sides of 1 to %d pixels: put videoscale before shm2sink",
			 video.visible_width, video.visible_height, LARGEST);
		return false;
	}
	picture->width = video.visible_width;
	picture->height = video.visible_height;
	for (uint32_t i = 0; i < video.planes && i < MAX_AV_PLANES; i++) {
		if (!set_plane(frame, i, &video, picture, &scratch->planes[i])) {
			snprintf(why, SENTENCE, "the layout of the frame contradicts its caps: check its producer");
			return false;
		}
	}
	return set_colors(&video, picture, why);
}

const char *video_colorimetry(enum video_format format, enum video_colorspace space, enum video_range_type range)
{
	bool is_full = resolve_video_range(format, range) == VIDEO_RANGE_FULL;
	if (!format_is_yuv(format))
		return "1:1:7:1"; /* sRGB */
	switch (space) {
	case VIDEO_CS_601:
		return is_full ? "1:4:16:4" : "2:4:16:4";
	case VIDEO_CS_SRGB:
		return is_full ? "1:3:7:1" : "2:3:7:1";
	case VIDEO_CS_2100_PQ:
		return is_full ? "1:6:14:7" : "2:6:14:7";
	case VIDEO_CS_2100_HLG:
		return is_full ? "1:6:15:7" : "2:6:15:7";
	default:
		return is_full ? "1:3:5:1" : "2:3:5:1";
	}
}
