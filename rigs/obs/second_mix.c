/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * A plugin for the tests: a second mix of video beside the programme, as virtual cameras and vertical canvases have
 * one. OBS then calls what plugins draw twice for each frame. */
#include <obs-module.h>

OBS_DECLARE_MODULE()

static obs_view_t *view;

bool obs_module_load(void)
{
	return true;
}

void obs_module_post_load(void)
{
	view = obs_view_create();
	if (!obs_view_add(view))
		blog(LOG_ERROR, "no second mix");
}

void obs_module_unload(void)
{
	obs_view_remove(view);
	obs_view_destroy(view);
}
