/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The live regions as properties. */
#include "obs-shm2.h"

#define OVERVIEW "regions"

static bool is_of_kind(const shm2_region *region, const char *kind)
{
	const char *caps = shm2_region_caps(region, NULL);
	return caps && strncmp(caps, kind, strlen(kind)) == 0;
}

/* Names are what an editable list stores, so that they are paths, without descriptions. */
static void fill(obs_property_t *list, const char *kind)
{
	shm2_regions *regions;
	obs_property_list_clear(list);
	if (shm2_regions_list(NULL, &regions) != SHM2_OK)
		return;
	for (size_t i = 0; i < shm2_regions_count(regions); i++) {
		const shm2_region *region = shm2_regions_at(regions, i);
		const char *path = shm2_region_path(region);
		if (path && is_of_kind(region, kind))
			obs_property_list_add_string(list, path, path);
	}
	shm2_regions_free(regions);
}

void regions_add_list(obs_properties_t *properties, const char *setting, const char *label, const char *kind)
{
	obs_property_t *list =
	    obs_properties_add_list(properties, setting, label, OBS_COMBO_TYPE_EDITABLE, OBS_COMBO_FORMAT_STRING);
	fill(list, kind);
}

/* The value of a field of caps, such as width, without its type; at most 31 bytes. */
static void caps_field(const char *caps, const char *field, char value[32])
{
	const char *at = strstr(caps, field);
	/* Not the end of another field's name. */
	while (at && at > caps && at[-1] != ',' && at[-1] != ' ')
		at = strstr(at + 1, field);
	value[0] = 0;
	if (!at)
		return;
	at += strlen(field);
	if (*at == '(')
		at = strchr(at, ')') ? strchr(at, ')') + 1 : "";
	size_t length = strcspn(at, ",; ");
	length = length < 31 ? length : 31;
	memcpy(value, at, length);
	value[length] = 0;
}

static void describe(struct dstr *text, const shm2_region *region)
{
	const char *caps = shm2_region_caps(region, NULL), *path = shm2_region_path(region);
	char format[32], first[32], second[32];
	if (!path)
		return;
	dstr_catf(text, "%s%s: ", text->len ? "\n" : "", path);
	if (!caps) {
		dstr_cat(text, T("NoCaps"));
		return;
	}
	bool is_video = is_of_kind(region, "video/x-raw");
	caps_field(caps, "format=", format);
	caps_field(caps, is_video ? "width=" : "rate=", first);
	caps_field(caps, is_video ? "height=" : "channels=", second);
	if (is_video)
		dstr_catf(text, "%s x %s, %s", first, second, format);
	else if (is_of_kind(region, "audio/x-raw"))
		dstr_catf(text, "%s Hz x %s, %s", first, second, format);
	else
		dstr_ncat(text, caps, strcspn(caps, ","));
}

static char *overview(void)
{
	struct dstr text = {0};
	shm2_regions *regions;
	if (shm2_regions_list(NULL, &regions) != SHM2_OK)
		return bstrdup(shm2_last_error());
	for (size_t i = 0; i < shm2_regions_count(regions); i++)
		describe(&text, shm2_regions_at(regions, i));
	shm2_regions_free(regions);
	if (dstr_is_empty(&text))
		dstr_copy(&text, T("NoRegions"));
	return text.array;
}

static void set_overview(obs_property_t *property)
{
	char *text = overview();
	obs_property_set_long_description(property, text);
	bfree(text);
}

static bool refresh(obs_properties_t *properties, obs_property_t *button, void *data)
{
	UNUSED_PARAMETER(button);
	UNUSED_PARAMETER(data);
	obs_property_t *list = obs_properties_get(properties, "video_region");
	if (list)
		fill(list, "video/x-raw");
	list = obs_properties_get(properties, "audio_region");
	if (list)
		fill(list, "audio/x-raw");
	set_overview(obs_properties_get(properties, OVERVIEW));
	return true;
}

void regions_add_overview(obs_properties_t *properties)
{
	obs_properties_add_button(properties, "refresh", T("Refresh"), refresh);
	obs_property_t *text = obs_properties_add_text(properties, OVERVIEW, T("LiveRegions"), OBS_TEXT_INFO);
	set_overview(text);
}
