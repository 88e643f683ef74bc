/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The output of the programme in OBS's window: an entry of the menu Tools, whose dialog is that of a source which no
 * scene has. OBS's interface for C has no other dialog with properties. */
#include "obs-shm2.h"

#include <obs-frontend-api.h>
#include <util/platform.h>

#define SETTINGS_ID "shm2_output_settings"
#define FILE_NAME "output.json"
#define START_WITH_OBS "start_with_obs"

static obs_output_t *output;
static obs_source_t *settings_source;
/* While the dialog's thread starts or stops the output. */
static _Thread_local bool is_toggling;
/* Between the signals of a start and a stop; OBS calls an output active for a moment longer. */
static volatile bool is_running;

static const char *get_name(void *type_data)
{
	UNUSED_PARAMETER(type_data);
	return T("Output");
}

static void *create(obs_data_t *settings, obs_source_t *source)
{
	UNUSED_PARAMETER(settings);
	return source;
}

static void destroy(void *data)
{
	UNUSED_PARAMETER(data);
}

static void save(obs_data_t *settings)
{
	char *folder = obs_module_config_path("");
	char *file = obs_module_config_path(FILE_NAME);
	if (os_mkdirs(folder) == MKDIR_ERROR || !obs_data_save_json_safe(settings, file, "tmp", "bak"))
		blog(LOG_WARNING, "[shm2] the settings of the output cannot be written to %s: see to the folder", file);
	bfree(folder);
	bfree(file);
}

static void update(void *data, obs_data_t *settings)
{
	UNUSED_PARAMETER(data);
	if (!output)
		return;
	obs_output_update(output, settings);
	save(settings);
}

static void set_label(obs_property_t *button)
{
	obs_property_set_description(button, os_atomic_load_bool(&is_running) ? T("Stop") : T("Start"));
}

/* What the output does now: the sentence of the last failure, or none. */
static void set_status(obs_property_t *text)
{
	const char *error = obs_output_get_last_error(output);
	bool runs = os_atomic_load_bool(&is_running), is_error = !runs && error && *error;
	obs_property_set_long_description(text, runs ? T("Running") : is_error ? error : T("Stopped"));
	obs_property_text_set_info_type(text, is_error ? OBS_TEXT_INFO_ERROR : OBS_TEXT_INFO_NORMAL);
}

static bool toggle(obs_properties_t *properties, obs_property_t *button, void *data)
{
	UNUSED_PARAMETER(data);
	is_toggling = true;
	if (os_atomic_load_bool(&is_running))
		obs_output_stop(output);
	else
		obs_output_start(output);
	is_toggling = false;
	set_label(button);
	set_status(obs_properties_get(properties, "status"));
	return true;
}

/* The output has started or stopped: an open dialog is made again. Within a click of its button it must not be. */
static void on_change(bool runs)
{
	os_atomic_set_bool(&is_running, runs);
	if (!is_toggling)
		obs_source_update_properties(settings_source);
}

static void on_start(void *data, calldata_t *call)
{
	UNUSED_PARAMETER(data);
	UNUSED_PARAMETER(call);
	on_change(true);
}

static void on_stop(void *data, calldata_t *call)
{
	UNUSED_PARAMETER(data);
	UNUSED_PARAMETER(call);
	on_change(false);
}

static obs_properties_t *get_properties(void *data)
{
	UNUSED_PARAMETER(data);
	obs_properties_t *properties = output ? obs_output_properties(output) : obs_properties_create();
	obs_properties_add_bool(properties, START_WITH_OBS, T("StartWithObs"));
	if (output) {
		set_label(obs_properties_add_button(properties, "toggle", T("Start"), toggle));
		obs_property_t *status = obs_properties_add_text(properties, "status", T("Status"), OBS_TEXT_INFO);
		obs_property_text_set_info_word_wrap(status, true);
		set_status(status);
	}
	return properties;
}

static void get_defaults(obs_data_t *settings)
{
	output_info.get_defaults(settings);
	obs_data_set_default_bool(settings, START_WITH_OBS, false);
}

static struct obs_source_info settings_info = {
    .id = SETTINGS_ID,
    .type = OBS_SOURCE_TYPE_INPUT,
    .output_flags = OBS_SOURCE_CAP_DISABLED,
    .get_name = get_name,
    .create = create,
    .destroy = destroy,
    .update = update,
    .get_defaults = get_defaults,
    .get_properties = get_properties,
};

static void open_dialog(void *data)
{
	UNUSED_PARAMETER(data);
	if (settings_source)
		obs_frontend_open_source_properties(settings_source);
}

static void make_output(void)
{
	char *file = obs_module_config_path(FILE_NAME);
	obs_data_t *settings = obs_data_create_from_json_file_safe(file, "bak");
	bfree(file);
	if (!settings)
		settings = obs_data_create();
	output = obs_output_create(OUTPUT_ID, "shm2", settings, NULL);
	settings_source = obs_source_create_private(SETTINGS_ID, T("Output"), settings);
	if (output && settings_source) {
		signal_handler_t *signals = obs_output_get_signal_handler(output);
		signal_handler_connect(signals, "start", on_start, NULL);
		signal_handler_connect(signals, "stop", on_stop, NULL);
	}
	if (output && obs_data_get_bool(settings, START_WITH_OBS))
		obs_output_start(output);
	obs_data_release(settings);
}

static void end_output(void)
{
	if (output) {
		signal_handler_t *signals = obs_output_get_signal_handler(output);
		signal_handler_disconnect(signals, "start", on_start, NULL);
		signal_handler_disconnect(signals, "stop", on_stop, NULL);
	}
	if (output && obs_output_active(output))
		obs_output_force_stop(output);
	obs_source_release(settings_source);
	obs_output_release(output);
	settings_source = NULL;
	output = NULL;
}

static void on_event(enum obs_frontend_event event, void *data)
{
	UNUSED_PARAMETER(data);
	if (event == OBS_FRONTEND_EVENT_FINISHED_LOADING && !output)
		make_output();
	else if (event == OBS_FRONTEND_EVENT_EXIT)
		end_output();
}

void menu_load(void)
{
	obs_register_source(&settings_info);
	obs_frontend_add_tools_menu_item(T("OutputMenu"), open_dialog, NULL);
	obs_frontend_add_event_callback(on_event, NULL);
}

void menu_unload(void)
{
	obs_frontend_remove_event_callback(on_event, NULL);
	end_output();
}
