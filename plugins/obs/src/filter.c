/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The filters: the pictures or the sound of the source that they stand on, into a region. The source stays as it is.
 * They are two, because OBS takes a filter with pictures and sound only for a source that has both. */
#include "obs-shm2.h"

#include <util/platform.h>

#define RETRY_NS 1000000000
/* A time further from OBS's clock than this is one of another clock, for libobs as well. */
#define FOREIGN_NS 2000000000
/* So far from OBS's clock a shifted time is after a jump. */
#define JUMP_NS 500000000

struct filter {
	obs_source_t *source;
	/* The setting with the region's name. */
	const char *setting;
	/* Of the name and of what is open by it. */
	pthread_mutex_t lock;
	char *name;
	struct publisher publisher;
	struct status status;
	/* Not before this time is a region that failed tried again. */
	uint64_t retry;
	/* From the clock of the source's sound to OBS's. */
	uint64_t shift;
	/* Of the region's pictures. */
	uint32_t width, height;
	/* The source that this filter leaves, of which OBS may free the memory. */
	const obs_source_t *left;
	/* Of the graphics thread alone. `staged_time` is 0 while nothing is staged. */
	gs_texrender_t *render;
	gs_stagesurf_t *stage;
	uint64_t staged_time;
	uint64_t rendered_time;
};

static const char *get_video_name(void *type_data)
{
	UNUSED_PARAMETER(type_data);
	return T("VideoFilter");
}

static const char *get_audio_name(void *type_data)
{
	UNUSED_PARAMETER(type_data);
	return T("AudioFilter");
}

static void fail(struct filter *it, const char *why)
{
	status_set(&it->status, true, obs_source_get_name(it->source), "%s", why);
	it->retry = os_gettime_ns() + RETRY_NS;
}

static bool may_open(const struct filter *it)
{
	return it->name && *it->name && os_gettime_ns() >= it->retry;
}

/* The region for pictures of this size. The lock is held. */
static bool open_video(struct filter *it, uint32_t width, uint32_t height)
{
	char why[SENTENCE];
	if (it->publisher.video && it->width == width && it->height == height)
		return true;
	publisher_close_video(&it->publisher);
	if (!may_open(it))
		return false;
	struct obs_video_info obs;
	obs_get_video_info(&obs);
	struct video_output_info info = {.format = VIDEO_FORMAT_BGRA,
					 .fps_num = obs.fps_num,
					 .fps_den = obs.fps_den,
					 .width = width,
					 .height = height,
					 .colorspace = VIDEO_CS_SRGB,
					 .range = VIDEO_RANGE_FULL};
	if (!publisher_open_video(&it->publisher, it->name, &info, why)) {
		fail(it, why);
		return false;
	}
	it->width = width;
	it->height = height;
	status_set(&it->status, false, obs_source_get_name(it->source), "publishes %ux%u to \"%s\"", width, height,
		   it->name);
	return true;
}

/* Draws the source, with its filters, into a texture. */
static bool draw(struct filter *it, obs_source_t *parent, uint32_t width, uint32_t height)
{
	struct vec4 nothing;
	vec4_zero(&nothing);
	gs_texrender_reset(it->render);
	if (!gs_texrender_begin(it->render, width, height))
		return false;
	gs_clear(GS_CLEAR_COLOR, &nothing, 0.0f, 0);
	gs_ortho(0.0f, (float)width, 0.0f, (float)height, -100.0f, 100.0f);
	gs_blend_state_push();
	/* Alpha as it is, not blended over anything. */
	gs_blend_function(GS_BLEND_ONE, GS_BLEND_ZERO);
	obs_source_video_render(parent);
	gs_blend_state_pop();
	gs_texrender_end(it->render);
	return true;
}

/* Reads the texture of the last frame, which the card has finished meanwhile. */
static void publish_staged(struct filter *it)
{
	uint8_t *data;
	uint32_t linesize;
	char why[SENTENCE] = "";
	if (!it->staged_time || !gs_stagesurface_map(it->stage, &data, &linesize))
		return;
	uint8_t *const planes[MAX_AV_PLANES] = {data};
	const uint32_t linesizes[MAX_AV_PLANES] = {linesize};
	if (!publisher_video(&it->publisher, planes, linesizes, it->staged_time, why)) {
		publisher_close_video(&it->publisher);
		fail(it, why);
	}
	gs_stagesurface_unmap(it->stage);
	it->staged_time = 0;
}

/* True when a picture is staged for the next frame. */
static bool stage(struct filter *it, obs_source_t *parent, uint32_t width, uint32_t height)
{
	gs_stagesurf_t *old = it->stage;
	if (old && (gs_stagesurface_get_width(old) != width || gs_stagesurface_get_height(old) != height)) {
		gs_stagesurface_destroy(it->stage);
		it->stage = NULL;
		it->staged_time = 0;
	}
	if (!it->stage)
		it->stage = gs_stagesurface_create(width, height, GS_BGRA);
	if (!it->render)
		it->render = gs_texrender_create(GS_BGRA, GS_ZS_NONE);
	publish_staged(it);
	if (!it->stage || !draw(it, parent, width, height))
		return false;
	gs_stage_texture(it->stage, gs_texrender_get_texture(it->render));
	it->staged_time = obs_get_video_frame_time();
	return true;
}

static bool publish_source(struct filter *it, obs_source_t *parent)
{
	uint32_t width = obs_source_get_width(parent), height = obs_source_get_height(parent);
	return width && height && open_video(it, width, height) && publisher_video_is_read(&it->publisher) &&
	       stage(it, parent, width, height);
}

/* For each frame that OBS renders, also of a source that is not in the programme; once for each mix of video. */
static void render(void *data, uint32_t cx, uint32_t cy)
{
	struct filter *it = data;
	bool is_staged = false;
	UNUSED_PARAMETER(cx);
	UNUSED_PARAMETER(cy);
	if (it->rendered_time == obs_get_video_frame_time())
		return;
	it->rendered_time = obs_get_video_frame_time();
	pthread_mutex_lock(&it->lock);
	obs_source_t *parent = obs_filter_get_parent(it->source);
	if (parent != it->left) {
		it->left = NULL;
		is_staged = parent && obs_source_enabled(it->source) && publish_source(it, parent);
	}
	/* Without a new picture the staged one would be of long ago when the next one comes. */
	if (!is_staged)
		it->staged_time = 0;
	pthread_mutex_unlock(&it->lock);
}

/* Waits for a rendering of the source. From here on it may be freed, before OBS takes it from the filter. */
static void filter_remove(void *data, obs_source_t *parent)
{
	struct filter *it = data;
	pthread_mutex_lock(&it->lock);
	it->left = parent;
	pthread_mutex_unlock(&it->lock);
}

static uint64_t distance(uint64_t one, uint64_t other)
{
	return one > other ? one - other : other - one;
}

/* OBS moves times of other clocks to its own after the filters; here the arrival of a first block tells by how much. */
static uint64_t local_time(struct filter *it, uint64_t time)
{
	uint64_t now = os_gettime_ns();
	if (distance(time, now) < FOREIGN_NS)
		return time;
	if (distance(time + it->shift, now) > JUMP_NS)
		it->shift = now - time;
	return time + it->shift;
}

static struct obs_audio_data *filter_audio(void *data, struct obs_audio_data *sound)
{
	struct filter *it = data;
	char why[SENTENCE] = "";
	struct obs_audio_info info;
	if (!obs_get_audio_info(&info))
		return sound;
	pthread_mutex_lock(&it->lock);
	bool is_open = it->publisher.audio != NULL;
	if (!is_open && may_open(it)) {
		is_open = publisher_open_audio(&it->publisher, it->name, info.samples_per_sec, info.speakers, why);
		if (is_open)
			status_set(&it->status, false, obs_source_get_name(it->source), "publishes %u Hz to \"%s\"",
				   info.samples_per_sec, it->name);
		else
			fail(it, why);
	}
	uint64_t time = local_time(it, sound->timestamp);
	if (is_open && !publisher_audio(&it->publisher, sound->data, sound->frames, time, why)) {
		publisher_close_audio(&it->publisher);
		fail(it, why);
	}
	pthread_mutex_unlock(&it->lock);
	return sound;
}

static void update(void *data, obs_data_t *settings)
{
	struct filter *it = data;
	const char *name = obs_data_get_string(settings, it->setting);
	pthread_mutex_lock(&it->lock);
	if (!it->name || strcmp(it->name, name) != 0) {
		bfree(it->name);
		it->name = bstrdup(name);
		publisher_close_video(&it->publisher);
		publisher_close_audio(&it->publisher);
		it->retry = 0;
	}
	pthread_mutex_unlock(&it->lock);
}

static struct filter *create(obs_data_t *settings, obs_source_t *source, const char *setting)
{
	struct filter *it = bzalloc(sizeof *it);
	it->source = source;
	it->setting = setting;
	/* A rendering may release the source as the last one, which removes the filter. */
	pthread_mutex_init_recursive(&it->lock);
	publisher_init(&it->publisher);
	it->publisher.begin = module_begin;
	status_init(&it->status, 0);
	update(it, settings);
	return it;
}

static void *create_video(obs_data_t *settings, obs_source_t *source)
{
	struct filter *it = create(settings, source, OUTPUT_VIDEO);
	obs_add_main_render_callback(render, it);
	return it;
}

static void *create_audio(obs_data_t *settings, obs_source_t *source)
{
	return create(settings, source, OUTPUT_AUDIO);
}

static void destroy(void *data)
{
	struct filter *it = data;
	publisher_free(&it->publisher);
	status_free(&it->status);
	pthread_mutex_destroy(&it->lock);
	bfree(it->name);
	bfree(it);
}

static void destroy_video(void *data)
{
	struct filter *it = data;
	obs_remove_main_render_callback(render, it);
	obs_enter_graphics();
	gs_stagesurface_destroy(it->stage);
	gs_texrender_destroy(it->render);
	obs_leave_graphics();
	destroy(it);
}

static void video_render(void *data, gs_effect_t *effect)
{
	struct filter *it = data;
	UNUSED_PARAMETER(effect);
	obs_source_skip_video_filter(it->source);
}

static obs_properties_t *get_properties(struct filter *it, const char *setting, const char *label)
{
	obs_properties_t *properties = obs_properties_create();
	obs_properties_add_text(properties, setting, label, OBS_TEXT_DEFAULT);
	if (it)
		status_show(&it->status, "status", properties);
	return properties;
}

static obs_properties_t *get_video_properties(void *data)
{
	return get_properties(data, OUTPUT_VIDEO, T("VideoRegion"));
}

static obs_properties_t *get_audio_properties(void *data)
{
	return get_properties(data, OUTPUT_AUDIO, T("AudioRegion"));
}

struct obs_source_info video_filter_info = {
    .id = "shm2_video_filter",
    .type = OBS_SOURCE_TYPE_FILTER,
    .output_flags = OBS_SOURCE_VIDEO,
    .get_name = get_video_name,
    .create = create_video,
    .destroy = destroy_video,
    .update = update,
    .get_properties = get_video_properties,
    .video_render = video_render,
    .filter_remove = filter_remove,
};

struct obs_source_info audio_filter_info = {
    .id = "shm2_audio_filter",
    .type = OBS_SOURCE_TYPE_FILTER,
    .output_flags = OBS_SOURCE_AUDIO,
    .get_name = get_audio_name,
    .create = create_audio,
    .destroy = destroy,
    .update = update,
    .get_properties = get_audio_properties,
    .filter_audio = filter_audio,
};
