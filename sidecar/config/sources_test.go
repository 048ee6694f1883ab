package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

func TestFlagsWinOverEnvironmentOverFileOverDefaults(t *testing.T) {
	file := write(t, "warmpool.toml", "admin = '127.0.0.1:1'\nprocs = 2\nlisten = ['tcp://127.0.0.1:2']\n[log]\nlevel = 'warn'\nformat = 'text'\n")
	environ := []string{
		"PATH=/bin", "WARMPOOL_LOG_LEVEL=error", "WARMPOOL_PROCS=3",
		"WARMPOOL_LISTEN=unix:///a.sock, tcp://[::1]:3", "WARMPOOL_DRAIN_GRACE=", "WARMPOOL_GRPC_MAX_MESSAGE_BYTES=8MiB",
	}
	flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	flags.Int("unrelated", 0, "")
	AddFlags(flags)
	if err := flags.Parse([]string{"--procs=4", "--control=off", "--unrelated=7"}); err != nil {
		t.Fatal(err)
	}
	load := func(s Source) *warmpoolv1.Config {
		t.Helper()
		loaded, err := Load(s)
		if err != nil {
			t.Fatal(err)
		}
		return loaded.Config
	}
	type row struct {
		Admin, Level, Format string
		Procs                uint32
		Grace                float64
		Listen, Control      []string
		Message              uint64
	}
	of := func(c *warmpoolv1.Config) row {
		return row{
			c.GetAdmin(), c.GetLog().GetLevel(), c.GetLog().GetFormat(), c.GetProcs(),
			c.GetDrain().GetGrace().AsDuration().Seconds(), c.GetListen(), c.GetControl(), c.GetGrpc().GetMaxMessageBytes(),
		}
	}
	standard := row{
		"127.0.0.1:7601", "info", "json", 1, 10,
		[]string{"unix:///run/warmpool/warmpool.sock", "tcp://127.0.0.1:7600"},
		[]string{"unix:///run/warmpool/control.sock"},
		5 << 20,
	}
	withFile := standard
	withFile.Admin, withFile.Level, withFile.Format, withFile.Procs = "127.0.0.1:1", "warn", "text", 2
	withFile.Listen = []string{"tcp://127.0.0.1:2"}
	withEnviron := withFile
	withEnviron.Level, withEnviron.Procs, withEnviron.Message = "error", 3, 8<<20
	withEnviron.Listen = []string{"unix:///a.sock", "tcp://[::1]:3"}
	withFlags := withEnviron
	withFlags.Procs, withFlags.Control = 4, []string{"off"}
	for _, c := range []struct {
		name   string
		source Source
		want   row
	}{
		{"defaults", Source{}, standard},
		{"file", Source{File: file}, withFile},
		{"environment", Source{File: file, Environ: environ}, withEnviron},
		{"flags", Source{File: file, Environ: environ, Flags: flags}, withFlags},
	} {
		if diff := cmp.Diff(c.want, of(load(c.source))); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

func TestEachFlagAndVariableReachesItsSetting(t *testing.T) {
	other := map[string]string{
		"listen": "tcp://127.0.0.1:1,unix:///x", "control": "unix:///y", "admin": "off", "log.level": "debug",
		"log.format": "text", "drain.grace": "1s", "drain.keep_serving": "2s", "procs": "2", "grpc.max_message_bytes": "6MiB",
		"grpc.max_concurrent_streams": "5", "grpc.max_metadata_bytes": "8KiB", "grpc.max_session_calls": "6",
		"grpc.min_ping_interval": "20s", "grpc.connection_timeout": "7s", "socket.mode": "0600", "socket.group": "0",
		"socket.control_mode": "0660", "socket.control_group": "1",
		"grpc.max_connections": "7", "tls.min_version": "1.2", "dangerously_unprotected": "serve-anybody",
		"callers.max_in_flight": "8", "callers.max_waiting": "9", "callers.max_wait": "3s",
		"warm_timeout": "4s", "max_dialing": "10",
		"telemetry.prometheus": "off", "telemetry.trace_ratio": "0.5",
		"dynamic_origins.allow": "https://api.example.com,http://*.example.org:81", "dynamic_origins.max": "11",
		"dynamic_origins.max_idle_time": "5s", "dynamic_origins.like": "payments",
	}
	file := write(t, "warmpool.yaml", upstream("")) // for settings that name one
	certificate, key := selfSigned(t, "sidecar.internal")
	tls := map[string]string{"tls.cert_file": write(t, "cert.pem", string(certificate)), "tls.key_file": write(t, "key.pem", string(key))}
	tls["tls.client_ca_file"] = tls["tls.cert_file"]
	plain, err := Load(Source{File: file})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range Describe() {
		if s.Flag == "" {
			continue
		}
		flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
		AddFlags(flags)
		args, environ := []string{s.Flag + "=" + other[s.Path]}, []string{s.Variable + "=" + other[s.Path]}
		if file := tls[s.Path]; file != "" { // those of TLS need each other
			args, environ = nil, nil
			for _, path := range []string{"tls.cert_file", "tls.key_file", s.Path} {
				args, environ = append(args, flagPrefix+path+"="+tls[path]), append(environ, variable(path)+"="+tls[path])
			}
		}
		if err := flags.Parse(args); err != nil {
			t.Fatal(err)
		}
		byFlag, err := Load(Source{File: file, Flags: flags})
		if err != nil {
			t.Errorf("%s: %v", s.Flag, err)
			continue
		}
		byVariable, err := Load(Source{File: file, Environ: environ})
		if err != nil {
			t.Errorf("%s: %v", s.Variable, err)
			continue
		}
		if diff := cmp.Diff(byFlag.Config, byVariable.Config, protocmp.Transform()); diff != "" {
			t.Errorf("%s: the flag and the variable differ: %s", s.Path, diff)
		}
		if proto.Equal(byFlag.Config, plain.Config) {
			t.Errorf("%s has no effect", s.Flag)
		}
	}
}

func TestUnknownVariablesAreRefusedAndServiceLinksAreNot(t *testing.T) {
	for name, message := range map[string]string{
		"WARMPOOL_LOG_LEVVEL":       "unknown setting; did you mean WARMPOOL_LOG_LEVEL?",
		"WARMPOOL_NOTHING_OF_THIS":  "unknown setting; known are WARMPOOL_ADMIN, WARMPOOL_CALLERS_MAX_IN_FLIGHT",
		"WARMPOOL_":                 "unknown setting",
		"WARMPOOL_UPSTREAMS":        "upstreams cannot come from the environment; write them into the configuration file",
		"WARMPOOL_UPSTREAMS_0_NAME": "upstreams cannot come from the environment",
		"WARMPOOL_ALLOW":            "allow cannot come from the environment",
		"WARMPOOL_PORTS":            "unknown setting",
		"WARMPOOL_PORT_X_TCP":       "unknown setting",
		"WARMPOOL_SERVICE_HOSTNAME": "unknown setting",
		"WARMPOOL_SOCKET_TARGET":    "unknown setting",
	} {
		_, err := Load(Source{Environ: []string{name + "=x"}})
		found := problemsOf(t, err)
		if len(found) != 1 || found[0].Path != name || !strings.Contains(found[0].Message, message) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{
		"WARMPOOL_SERVICE_HOST", "WARMPOOL_SERVICE_PORT", "WARMPOOL_SERVICE_PORT_GRPC", "WARMPOOL_PORT", "WARMPOOL_PORT_7600_TCP",
		"WARMPOOL_PORT_7600_TCP_PROTO", "WARMPOOL_PORT_7600_TCP_PORT", "WARMPOOL_PORT_7600_TCP_ADDR", "WARMPOOL_PORT_53_UDP_ADDR",
		"WARMPOOL_ADMIN_SERVICE_HOST", "WARMPOOL_NODE_WIDE_PORT_7600_TCP_ADDR", "MY_WARMPOOL_SETTING", "warmpool_x",
	} {
		if _, err := Load(Source{Environ: []string{name + "=tcp://10.0.0.1:7600"}}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Load(Source{Environ: []string{"WARMPOOL_SOCKET_TARGET=x"}, Variables: []string{"WARMPOOL_SOCKET_TARGET"}}); err != nil {
		t.Errorf("a variable of the command's own: %v", err)
	}
	for _, s := range Describe() {
		if serviceLink.MatchString(s.Variable) {
			t.Errorf("%s cannot be told from a service link of Kubernetes", s.Variable)
		}
	}
}

func TestWhatAFlagsUsageShowsCanBeGivenToIt(t *testing.T) {
	for _, s := range Describe() {
		if s.Flag == "" {
			continue
		}
		usage := s.Summary()
		shown := []string{s.Min, s.Max}
		if _, value, given := strings.Cut(strings.TrimSuffix(usage, ")"), " (default "); given {
			shown = append(shown, value)
		}
		if before, _, has := strings.Cut(usage, " ("+s.Zero+")"); has && s.Zero != "" {
			shown = append(shown, before[strings.LastIndexByte(before, ' ')+1:])
		}
		for _, value := range shown {
			if value == "" {
				continue
			}
			flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
			AddFlags(flags)
			if err := flags.Parse([]string{s.Flag, value}); err != nil {
				t.Errorf("%s %s: %v", s.Flag, value, err)
			}
			if _, err := Load(Source{Flags: flags}); err != nil {
				t.Errorf("%q shows %s: %v", usage, value, err)
			}
		}
		if s.Default != "" && !strings.Contains(usage, " (default ") {
			t.Errorf("%q does not show the default %s", usage, s.Default)
		}
	}
	flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	AddFlags(flags)
	if usages := flags.FlagUsages(); strings.Contains(usages, "(default )") || strings.Contains(usages, "[") {
		t.Errorf("a default is empty or not written as the command line takes it:\n%s", usages)
	}
}
