package config

import (
	"cmp"
	"slices"
	"strings"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// Setting describes one setting, for a reference of all of them.
type Setting struct {
	// Path is the key's path; that of an upstream's begins with "upstreams[].", that
	// of a rule's with "allow[].".
	Path string
	// Type is text, whole number, number, size or duration.
	Type string
	// List says that the setting is a list of Type.
	List bool
	// Default is the value when absent, as the file would write it. Empty: none.
	Default  string
	defaults []string // its elements, of a list
	// Min and Max bound a number, size or duration, inclusive. Empty: the type's own
	// bounds, never below zero.
	Min, Max string
	// Zero says what zero means, which is then allowed even below Min.
	Zero string
	// Allowed are the only values. Empty: there is no such list.
	Allowed []string
	// Form says how a text must look. Empty: it may be any.
	Form string
	// Required says that it must be given.
	Required bool
	// Secret says that its value is never shown.
	Secret bool
	// Effect says when a change while running counts: live, new connections or
	// restart.
	Effect string
	// Variable and Flag are its names in the environment and on the command line.
	// Empty inside lists of sections, which come from the file only.
	Variable, Flag string
}

// Describe lists all settings in the order of the schema.
func Describe() []Setting {
	var all []Setting
	visitSettings(schema(), "", func(path string, e *entry) {
		s := describe(path, e)
		s.Variable, s.Flag = variable(path), flagPrefix+path
		all = append(all, s)
	})
	for _, list := range schema().entries {
		if list.section == nil || !list.list() {
			continue
		}
		visitSettings(list.section, "", func(path string, e *entry) {
			all = append(all, describe(list.name+"[]."+path, e))
		})
	}
	return all
}

func describe(path string, e *entry) Setting {
	o := e.setting.options
	return Setting{
		Path: path, Type: e.setting.kind.String(), List: e.list(), Default: o.GetDefault(), defaults: e.setting.defaults,
		Min: o.GetMin(), Max: o.GetMax(), Zero: o.GetZero(), Allowed: slices.Clone(o.GetAllowed()),
		Form: forms[o.GetFormat()], Required: o.GetRequired(), Secret: o.GetSecret(), Effect: effects[o.GetEffect()],
	}
}

var forms = map[warmpoolv1.Setting_Format]string{
	warmpoolv1.Setting_FORMAT_NAME:           "a name: 1 to 63 of a-z, 0-9, -, _ and .",
	warmpoolv1.Setting_FORMAT_ORIGIN:         "http:// or https://, host and optional port",
	warmpoolv1.Setting_FORMAT_LISTENER:       "unix:// and an absolute path, or tcp:// and host:port",
	warmpoolv1.Setting_FORMAT_HOST_PORT:      "host:port, or off",
	warmpoolv1.Setting_FORMAT_IP_PORT:        "ip:port",
	warmpoolv1.Setting_FORMAT_IP:             "an IP address",
	warmpoolv1.Setting_FORMAT_FILE:           "path of a file",
	warmpoolv1.Setting_FORMAT_FILE_MODE:      "permission bits in octal",
	warmpoolv1.Setting_FORMAT_GROUP:          "name or number of a group",
	warmpoolv1.Setting_FORMAT_DNS_NAME:       "a DNS name",
	warmpoolv1.Setting_FORMAT_PATH:           "a request's path",
	warmpoolv1.Setting_FORMAT_ORIGIN_PATTERN: "an origin in its canonical form, its first label possibly *",
}

var effects = map[warmpoolv1.Setting_Effect]string{
	warmpoolv1.Setting_EFFECT_LIVE:            "live",
	warmpoolv1.Setting_EFFECT_NEW_CONNECTIONS: "new connections",
	warmpoolv1.Setting_EFFECT_RESTART:         "restart",
}

// Range words what the value, or each one of a list, may be, such as "1 to
// 100000" or "100ms to 24h, or 0s (no limit)". Empty: any of the type.
func (s Setting) Range() string {
	switch {
	case len(s.Allowed) > 0:
		return strings.Join(s.Allowed, ", ")
	case s.Form != "" || s.Type == kindText.String():
		return s.Form
	}
	return rangeText(s.Min, s.Max, s.Zero, s.Type == kindDuration.String())
}

// rangeText words the bounds of an amount, everywhere that they are shown, so
// that what is shown can be written: zero has a unit where it is a duration.
// least and most are the bounds, each empty where there is none, and meaning is
// that of zero, empty where it has none of its own.
func rangeText(least, most, meaning string, duration bool) string {
	zero := "0"
	if duration {
		zero = "0s"
	}
	if meaning != "" {
		zero += " (" + meaning + ")"
	}
	from := cmp.Or(least, zero)
	text := from + " or more"
	if most != "" {
		text = from + " to " + most
	}
	if least != "" && meaning != "" {
		text += ", or " + zero
	}
	return text
}

// Summary is the type, what is allowed and the default, in one line and as the
// command line takes them.
func (s Setting) Summary() string {
	text, byDefault := s.Type, s.Default
	if s.List {
		text, byDefault = "list, separated by commas", strings.Join(s.defaults, ",")
	}
	if allowed := s.Range(); allowed != "" {
		text += ": " + allowed
	}
	if byDefault != "" {
		text += " (default " + byDefault + ")"
	}
	return text
}
