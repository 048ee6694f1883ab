package config

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

func TestAllMistakesAreListedAtOnceInOrder(t *testing.T) {
	file := write(t, "warmpool.yaml", `listen: tcp://127.0.0.1:7600
log: {level: loud}
unknown: 1
upstreams:
  - name: payments
    url: https://payments.internal:8443
    connections:
      warm: 10
      max: 0
      max_idle_time: 5
  - name: search
    url: http://search
    queue: {max_wait: -1s}
  - name: payments
    url: ftp://payments
    tls: {ca_file: missing.pem}
`)
	flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	AddFlags(flags)
	if err := flags.Parse([]string{"--procs=none"}); err != nil {
		t.Fatal(err)
	}
	_, err := Load(Source{File: file, Flags: flags, Environ: []string{"WARMPOOL_LOG_FORMAT=xml"}})
	if err == nil {
		t.Fatal("loaded")
	}
	f := file
	want := strings.Join([]string{
		`command line|--procs|"none": must be a whole number in decimal digits: 1 to 1024`,
		`environment|WARMPOOL_LOG_FORMAT|"xml": must be "json" or "text"`,
		f + `:1|listen|"tcp://127.0.0.1:7600": must be a list of texts`,
		f + `:2|log.level|"loud": must be "debug", "info", "warn" or "error"`,
		f + `:3|unknown|unknown key; known are listen, control, admin, log, drain, procs, grpc, socket, upstreams, tls, dangerously_unprotected, allow, telemetry, dynamic_origins, callers, warm_timeout, max_dialing`,
		f + `:9|upstreams[0] (payments).connections.max|0: must be 1 to 100000`,
		f + `:10|upstreams[0] (payments).connections.max_idle_time|5: must be a duration with its unit, such as "250ms", "55s" or "1h30m": 100ms to 24h, or 0s (no limit of its own)`,
		f + `:13|upstreams[1] (search).queue.max_wait|"-1s": must be 1ms to 10m, or 0s (as long as the request's own timeout and deadline allow)`,
		f + `:14|upstreams[2] (payments).name|"payments": is the name of upstreams[0] already; each upstream needs its own`,
		f + `:15|upstreams[2] (payments).url|"ftp://payments": must be an origin such as "https://payments.internal:8443": it must begin with "http://" or "https://"`,
		f + `:16|upstreams[2] (payments).tls.ca_file|"missing.pem": there is no such file`,
	}, "\n")
	var rows []string
	columns := make(map[int]bool)
	for row := range strings.SplitSeq(err.Error(), "\n") {
		fields := strings.SplitN(row, "  ", 2)
		path, text, _ := strings.Cut(strings.TrimLeft(fields[1], " "), "  ")
		rows = append(rows, strings.Join([]string{fields[0], path, strings.TrimLeft(text, " ")}, "|"))
		columns[strings.Index(row, strings.TrimLeft(text, " "))] = true
	}
	if diff := cmp.Diff(want, strings.Join(rows, "\n")); diff != "" {
		t.Error(diff)
	}
	if len(columns) != 1 {
		t.Errorf("the messages begin in columns %v:\n%v", columns, err)
	}
}

func TestAMistakeIsNotBlamedForWhatFollowsFromIt(t *testing.T) {
	for _, document := range []string{
		upstream("connections: {warm: 70, max: many}"),                 // warm over the default of max
		upstream("connections: 5"),                                     // nothing inside it
		upstream("tls: {cert_file: none.pem, key_file: 7}"),            // cert_file without key_file
		"upstreams: [{name: [], url: http://a}]",                       // name missing
		"upstreams: [7]",                                               // name and url missing
		"upstreams: [{name: a, url: 'http://', tls: {ca_file: none}}]", // tls for a plain url
	} {
		_, err := load(t, ".yaml", document)
		found := problemsOf(t, err)
		mistakes := 1
		if strings.Contains(document, "none") {
			mistakes = 2 // the file is one of its own
		}
		if len(found) != mistakes {
			t.Errorf("%s:\n%v", document, err)
		}
	}
}

func TestAFileThatIsNoConfigurationIsListedInPart(t *testing.T) {
	var keys strings.Builder
	for i := range maxProblems + 7 {
		fmt.Fprintf(&keys, "key%d: 1\n", i)
	}
	_, err := load(t, ".yaml", keys.String())
	found := problemsOf(t, err)
	if len(found) != maxProblems+1 || found[maxProblems].Message != "and 7 more" {
		t.Errorf("%d problems, the last %+v", len(found), found[len(found)-1])
	}
}

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

func TestFilesThatCannotBeConfigurations(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "folder.yaml"), 0o700); err != nil {
		t.Fatal(err)
	}
	large := write(t, "large.yaml", strings.Repeat("# comment\n", maxFileSize/10+1))
	for file, message := range map[string]string{
		filepath.Join(dir, "none.yaml"):     "there is no such file",
		filepath.Join(dir, "folder.yaml"):   "is a directory, must be a file",
		filepath.Join(dir, "warmpool.conf"): `the extension ".conf" names no format; it must be .yaml (or .yml), .toml or .json`,
		filepath.Join(dir, "warmpool"):      `the extension "" names no format`,
		filepath.Join(dir, "warmpool.YAML"): `the extension ".YAML" names no format`,
		large:                               "is larger than 4MiB",
		filepath.Join(large, "in.json"):     "cannot be read: not a directory",
	} {
		_, err := Load(Source{File: file, Environ: []string{"WARMPOOL_LOG_LEVEL=x"}})
		found := problemsOf(t, err)
		if len(found) != 2 || !strings.Contains(found[0].Message, message) || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v", file, err)
		}
	}
}

func TestAFileThatMayNotBeReadIsSaidSo(t *testing.T) {
	if os.Getuid() == 0 {
		t.Log("root may read everything: only the error's wording is tested")
		if err := fileError(&os.PathError{Op: "open", Path: "x", Err: os.ErrPermission}); !strings.Contains(err.Error(), "may not be read by this user (uid 0)") {
			t.Error(err)
		}
		return
	}
	file := write(t, "warmpool.yaml", "procs: 1\n")
	if err := os.Chmod(file, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(Source{File: file}); err == nil || !strings.Contains(err.Error(), "may not be read by this user") {
		t.Error(err)
	}
}

func TestWhatIsAllowedInAFile(t *testing.T) {
	for name, c := range map[string]struct{ extension, content string }{
		"comments only":              {".yaml", "# nothing\n"},
		"a document mark":            {".yaml", "---\n"},
		"an empty table":             {".json", "{}"},
		"comments only in TOML":      {".toml", "# nothing\n"},
		"a byte order mark":          {".json", "\ufeff{}"},
		"the other extension":        {".yml", "procs: 1"},
		"empty sections":             {".yaml", "log: {}\nupstreams: []\n"},
		"an empty text":              {".yaml", upstream(`tls: {ca_file: ""}`)},
		"defaults that have no say":  {".yaml", "upstreams: [{name: a, url: http://a, tls: {min_version: '1.2'}, dns: {min_ttl: 5s}}]"},
		"brackets in TOML texts":     {".toml", "# " + strings.Repeat("[", 200) + "\nadmin = 'off' # [\n[log]\nlevel = \"\"\"\\\n  info\"\"\"\n"},
		"a number with separators":   {".toml", "procs = 1_0\n"},
		"a header after its child":   {".toml", "[grpc]\nmax_session_calls=1\n[[upstreams]]\nname='a'\nurl='http://a'\n[upstreams.queue]\nmax_wait='1s'\n[[upstreams]]\nname='b'\nurl='http://b'\n[upstreams.queue]\n"},
		"zero where it has a sense":  {".yaml", upstream("connections: {max_idle_time: 0s, max_lifetime: 0s, max_requests: 0}")},
		"rules":                      {".yaml", "allow: [{uid: 0, upstreams: [a]}, {gid: 5, control: read}, {upstreams: ['*']}]"},
		"a listener for everybody":   {".yaml", "listen: ['tcp://:7600']\ndangerously_unprotected: serve-anybody"},
		"an IPv6 origin":             {".yaml", "upstreams: [{name: a, url: 'http://[2001:db8::1]:80'}]"},
		"the same port 0 everywhere": {".yaml", "listen: ['tcp://127.0.0.1:0']\ncontrol: ['unix:///x']\nadmin: 127.0.0.1:0\n"},
	} {
		if _, err := load(t, c.extension, c.content); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAliasesAndMergeKeysStandForTheirValue(t *testing.T) {
	loaded, err := load(t, ".yaml", `
upstreams:
  - name: a
    url: http://a
    connections: &usual {warm: 2, max: 8}
    queue: &queue {max_wait: 2s}
  - name: b
    url: http://b
    connections: *usual
  - name: c
    url: http://c
    connections: {<<: *usual, max: 9}
    queue: {<<: [{max_wait: 3s}, *queue]}
`)
	if err != nil {
		t.Fatal(err)
	}
	u := loaded.Config.GetUpstreams()
	for i, want := range []uint32{8, 8, 9} {
		if c := u[i].GetConnections(); c.GetWarm() != 2 || c.GetMax() != want {
			t.Errorf("upstreams[%d]: %v", i, c)
		}
	}
	if got := u[2].GetQueue().GetMaxWait().AsDuration().Seconds(); got != 3 {
		t.Errorf("the first of several merged tables must win, got %v s", got)
	}
}

func TestTheThreeFormatsMeanTheSame(t *testing.T) {
	document, err := os.ReadFile("../../deploy/examples/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var want *Loaded
	for _, extension := range []string{".yaml", ".json", ".toml"} {
		content, _ := in(t, extension, string(document))
		loaded, err := load(t, extension, content)
		if err != nil {
			t.Fatalf("%s: %v", extension, err)
		}
		if want == nil {
			want = loaded
		}
		if diff := cmp.Diff(want.Config, loaded.Config, protocmp.Transform()); diff != "" {
			t.Errorf("%s: %s", extension, diff)
		}
	}
}

func TestLoadedTellsWhatWasRead(t *testing.T) {
	file := write(t, "warmpool.yaml", upstream("tls: {ca_file: ca.pem}"))
	certificate, _ := selfSigned(t, "ca")
	ca := filepath.Join(filepath.Dir(file), "ca.pem")
	if err := os.WriteFile(ca, certificate, 0o600); err != nil {
		t.Fatal(err)
	}
	loaded, err := Load(Source{File: file})
	if err != nil {
		t.Fatal(err)
	}
	if loaded.File != file || loaded.Dir != filepath.Dir(file) {
		t.Errorf("File %s, Dir %s", loaded.File, loaded.Dir)
	}
	if len(loaded.Files) != 2 || loaded.Files[0].Path != file || loaded.Files[1].Path != ca {
		t.Fatalf("Files %v", loaded.Files)
	}
	again, err := Load(Source{File: file})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(loaded.Files, again.Files); diff != "" {
		t.Error(diff)
	}
	other, _ := selfSigned(t, "another ca")
	if err := os.WriteFile(ca, other, 0o600); err != nil {
		t.Fatal(err)
	}
	if again, err = Load(Source{File: file}); err != nil {
		t.Fatal(err)
	}
	if again.Files[0] != loaded.Files[0] || again.Files[1] == loaded.Files[1] {
		t.Error("the hash of exactly the file that changed must change")
	}
}

func TestWarnings(t *testing.T) {
	for document, want := range map[string]string{
		upstream("queue: {max_waiting: 0}"):                                      "",
		upstream("tls: {dangerously_skip_verification: accept-any-certificate}"): "upstreams[0] (payments).tls.dangerously_skip_verification: any certificate is accepted",
		upstream("limits: {buffered_body_bytes: 8MiB}"):                          "upstreams[0] (payments).limits.buffered_body_bytes is 8MiB, but requests are bounded by grpc.max_message_bytes, which is 5MiB",
		upstream("upkeep: {connections: 1, interval: 250ms}"):                    "upstreams[0] (payments).upkeep.interval is 250ms: that buys something only where the retransmission timeout is longer",
		upstream("tcp: {congestion: nosuch}"):                                    "upstreams[0] (payments).tcp.congestion: ",
		upstream("upkeep: {interval: 250ms}"):                                    "",
		"control: ['off']":                                                       "there are no upstreams",
	} {
		loaded, err := load(t, ".yaml", document)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(loaded.Warnings, "\n"); want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: got %q", document, got)
		}
	}
}

func TestExamplesLoadWithoutAWarning(t *testing.T) {
	files, err := filepath.Glob("../../deploy/examples/*.yaml")
	if err != nil || len(files) < 2 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		loaded, err := Load(Source{File: file})
		if err != nil {
			t.Errorf("%v", err)
		} else if len(loaded.Warnings) > 0 {
			t.Errorf("%s: %q", file, loaded.Warnings)
		}
	}
}

func TestTheFullExampleShowsEverySettingWithItsDefault(t *testing.T) {
	const file = "../../deploy/examples/full.yaml"
	loaded, err := Load(Source{File: file})
	if err != nil {
		t.Fatal(err)
	}
	u := loaded.Config.GetUpstreams()[0]
	want := WithDefaults(&warmpoolv1.Config{Upstreams: []*warmpoolv1.Upstream{{Name: u.GetName(), Url: u.GetUrl()}}})
	if diff := cmp.Diff(want, loaded.Config, protocmp.Transform()); diff != "" {
		t.Errorf("it says something else than the defaults: %s", diff)
	}

	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p := newProblems()
	document := p.decodeYAML(content)
	p.table(schema(), document, "")
	for _, s := range Describe() {
		path := strings.Replace(s.Path, "[]", "[0]", 1)
		key := path[strings.LastIndexByte(path, '.')+1:] + ": "
		_, written := p.lines[path]
		switch {
		case (s.Default != "" || s.Required) && !written:
			t.Errorf("%s is missing", s.Path)
		case !written && !regexp.MustCompile(`(?m)^ *#[ -]*`+key).Match(content):
			t.Errorf("%s is not even mentioned in a comment", s.Path)
		}
	}
}

func TestTheFullExampleSaysWhatEachAmountMayBe(t *testing.T) {
	content, err := os.ReadFile("../../deploy/examples/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	p := newProblems()
	p.table(schema(), p.decodeYAML(content), "")
	lines := strings.Split(string(content), "\n")
	for _, s := range Describe() {
		line, written := p.lines[strings.Replace(s.Path, "[]", "[0]", 1)]
		if !written || s.Type == kindText.String() {
			continue
		}
		var words []string // of the comment above it
		for i := line - 2; i >= 0; i-- {
			text, commented := strings.CutPrefix(strings.TrimLeft(lines[i], " -"), "# ")
			if !commented {
				break
			}
			words = append(strings.Fields(text), words...)
		}
		if want := "Allowed: " + s.Range() + "."; !strings.Contains(strings.Join(words, " "), want) {
			t.Errorf("line %d, %s: want %q, got %q", line, s.Path, want, strings.Join(words, " "))
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
