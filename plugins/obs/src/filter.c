/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The filter: the source that it stands on, into a region of video and one of audio. The source stays as it is. */
#include "obs-shm2.h"

#include <util/platform.h>

#define RETRY_NS 1000000000

struct filter {
	obs_source_t *source;
	/* Each of a name and of what is open by it: sound does not wait for rendering. */
	pthread_mutex_t video_lock, audio_lock;
	char *video_name;
	char *audio_name;
	struct publisher publisher;
	struct status status;
	/* Of the region's pictures. */
	uint32_t width, height;
	/* The source that this filter leaves, of which OBS may free the memory. */
	const obs_source_t *left;
	/* Not before these times is a region that failed tried again. */
	uint64_t video_retry, audio_retry;
	/* Of the graphics thread alone. */
	gs_texrender_t *render;
	gs_stagesurf_t *stage;
	uint64_t staged_time;
};

static const char *get_name(void *type_data)
{
	UNUSED_PARAMETER(type_data);
	return T("Filter");
}

static void fail(struct filter *it, uint64_t *retry, const char *why)
{
	status_set(&it->status, true, obs_source_get_name(it->source), "%s", why);
	*retry = os_gettime_ns() + RETRY_NS;
}

static bool may_open(const char *name, uint64_t retry)
{
	return name && *name && os_gettime_ns() >= retry;
}

/* The region for pictures of this size. The lock is held. */
static bool open_video(struct filter *it, uint32_t width, uint32_t height)
{
	char why[SENTENCE];
	if (it->publisher.video && it->width == width && it->height == height)
		return true;
	publisher_close_video(&it->publisher);
	if (!may_open(it->video_name, it->video_retry))
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
	if (!publisher_open_video(&it->publisher, it->video_name, &info, why)) {
		fail(it, &it->video_retry, why);
		return false;
	}
	it->width = width;
	it->height = height;
	status_set(&it->status, false, obs_source_get_name(it->source), "publishes %ux%u to \"%s\"", width, height,
		   it->video_name);
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
		fail(it, &it->video_retry, why);
	}
	gs_stagesurface_unmap(it->stage);
	it->staged_time = 0;
}

static void stage(struct filter *it, obs_source_t *parent, uint32_t width, uint32_t height)
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
	if (it->stage && draw(it, parent, width, height)) {
		gs_stage_texture(it->stage, gs_texrender_get_texture(it->render));
		it->staged_time = obs_get_video_frame_time();
	}
}

static void publish_source(struct filter *it, obs_source_t *parent)
{
	uint32_t width = obs_source_get_width(parent), height = obs_source_get_height(parent);
	if (!width || !height)
		return;
	if (open_video(it, width, height) && publisher_video_is_read(&it->publisher))
		stage(it, parent, width, height);
	else
		it->staged_time = 0; /* It would be of long ago for the next reader. */
}

/* Once for each frame that OBS renders, also of a source that is not in the programme. */
static void render(void *data, uint32_t cx, uint32_t cy)
{
	struct filter *it = data;
	UNUSED_PARAMETER(cx);
	UNUSED_PARAMETER(cy);
	pthread_mutex_lock(&it->video_lock);
	obs_source_t *parent = obs_filter_get_parent(it->source);
	if (parent != it->left) {
		it->left = NULL;
		if (parent && obs_source_enabled(it->source))
			publish_source(it, parent);
	}
	pthread_mutex_unlock(&it->video_lock);
}

/* Waits for a rendering of the source. From here on it may be freed, before OBS takes it from the filter. */
static void filter_remove(void *data, obs_source_t *parent)
{
	struct filter *it = data;
	pthread_mutex_lock(&it->video_lock);
	it->left = parent;
	pthread_mutex_unlock(&it->video_lock);
}

static struct obs_audio_data *filter_audio(void *data, struct obs_audio_data *sound)
{
	struct filter *it = data;
	char why[SENTENCE] = "";
	struct obs_audio_info info;
	if (!obs_get_audio_info(&info))
		return sound;
	pthread_mutex_lock(&it->audio_lock);
	bool is_open = it->publisher.audio != NULL;
	if (!is_open && may_open(it->audio_name, it->audio_retry)) {
		is_open =
		    publisher_open_audio(&it->publisher, it->audio_name, info.samples_per_sec, info.speakers, why);
		if (!is_open)
			fail(it, &it->audio_retry, why);
	}
	if (is_open && !publisher_audio(&it->publisher, sound->data, sound->frames, sound->timestamp, why)) {
		publisher_close_audio(&it->publisher);
		fail(it, &it->audio_retry, why);
	}
	pthread_mutex_unlock(&it->audio_lock);
	return sound;
}

/* Takes a name over. True when it changed. */
static bool set_name(char **name, const char *text)
{
	if (*name && strcmp(*name, text) == 0)
		return false;
	bfree(*name);
	*name = bstrdup(text);
	return true;
}

static void update(void *data, obs_data_t *settings)
{
	struct filter *it = data;
	pthread_mutex_lock(&it->video_lock);
	if (set_name(&it->video_name, obs_data_get_string(settings, OUTPUT_VIDEO))) {
		publisher_close_video(&it->publisher);
		it->video_retry = 0;
	}
	pthread_mutex_unlock(&it->video_lock);
	pthread_mutex_lock(&it->audio_lock);
	if (set_name(&it->audio_name, obs_data_get_string(settings, OUTPUT_AUDIO))) {
		publisher_close_audio(&it->publisher);
		it->audio_retry = 0;
	}
	pthread_mutex_unlock(&it->audio_lock);
}

static void *create(obs_data_t *settings, obs_source_t *source)
{
	struct filter *it = bzalloc(sizeof *it);
	it->source = source;
	/* A rendering may release the source as the last one, which removes the filter. */
	pthread_mutex_init_recursive(&it->video_lock);
	pthread_mutex_init(&it->audio_lock, NULL);
	publisher_init(&it->publisher);
	status_init(&it->status);
	update(it, settings);
	obs_add_main_render_callback(render, it);
	return it;
}

static void destroy(void *data)
{
	struct filter *it = data;
	obs_remove_main_render_callback(render, it);
	obs_enter_graphics();
	gs_stagesurface_destroy(it->stage);
	gs_texrender_destroy(it->render);
	obs_leave_graphics();
	publisher_free(&it->publisher);
	status_free(&it->status);
	pthread_mutex_destroy(&it->video_lock);
	pthread_mutex_destroy(&it->audio_lock);
	bfree(it->video_name);
	bfree(it->audio_name);
	bfree(it);
}

static void video_render(void *data, gs_effect_t *effect)
{
	struct filter *it = data;
	UNUSED_PARAMETER(effect);
	obs_source_skip_video_filter(it->source);
}

static void get_defaults(obs_data_t *settings)
{
	obs_data_set_default_string(settings, OUTPUT_VIDEO, "");
	obs_data_set_default_string(settings, OUTPUT_AUDIO, "");
}

static obs_properties_t *get_properties(void *data)
{
	struct filter *it = data;
	obs_properties_t *properties = obs_properties_create();
	obs_properties_add_text(properties, OUTPUT_VIDEO, T("VideoRegion"), OBS_TEXT_DEFAULT);
	obs_properties_add_text(properties, OUTPUT_AUDIO, T("AudioRegion"), OBS_TEXT_DEFAULT);
	if (it)
		status_show(&it->status, "status", properties);
	return properties;
}

struct obs_source_info filter_info = {
    .id = "shm2_filter",
    .type = OBS_SOURCE_TYPE_FILTER,
    .output_flags = OBS_SOURCE_VIDEO | OBS_SOURCE_AUDIO,
    .get_name = get_name,
    .create = create,
    .destroy = destroy,
    .update = update,
    .get_defaults = get_defaults,
    .get_properties = get_properties,
    .video_render = video_render,
    .filter_remove = filter_remove,
    .filter_audio = filter_audio,
};
