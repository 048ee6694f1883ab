package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoregistry"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
	"github.com/warmpool-dev/warmpool/sidecar/config"
)

// root is the repository's root, seen from this package.
const root = "../.."

func readSections(t *testing.T) []section {
	t.Helper()
	schema, err := readSchema(t.Context(), root, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	sections, err := sectionsOf(schema)
	if err != nil {
		t.Fatal(err)
	}
	return sections
}

func TestEverySettingHasALineThatSaysEverything(t *testing.T) {
	rows := make(map[string]row)
	for _, s := range readSections(t) {
		if s.intro == "" {
			t.Errorf("section %q has no introduction", s.path)
		}
		for _, r := range s.rows {
			if r.setting != nil {
				rows[r.setting.Path] = r
			}
			if r.meaning == "" {
				t.Errorf("%s.%s has no meaning", s.path, r.name)
			}
			if text := line(s.path, r); strings.Count(text, " | ") != 4 || strings.Count(text, "`")%2 != 0 {
				t.Errorf("not five cells: %s", text)
			}
		}
	}
	for _, s := range config.Describe() {
		r, there := rows[s.Path]
		if !there {
			t.Errorf("%s is missing", s.Path)
			continue
		}
		cells := strings.Split(line("", r), "|")
		for i, name := range []string{"setting", "default", "allowed", "takes effect", "meaning"} {
			if strings.TrimSpace(cells[i+1]) == "" {
				t.Errorf("%s: nothing under %q", s.Path, name)
			}
		}
	}
	if len(rows) != len(config.Describe()) {
		t.Errorf("%d lines for %d settings", len(rows), len(config.Describe()))
	}
}

func TestEveryLinkLeadsToAHeading(t *testing.T) {
	text := page(readSections(t))
	headings := make(map[string]bool)
	for _, h := range regexp.MustCompile("(?m)^### (.+)$").FindAllStringSubmatch(text, -1) {
		headings[anchor(h[1])] = true
	}
	links := regexp.MustCompile(`\]\(#([^)]*)\)`).FindAllStringSubmatch(text, -1)
	for _, l := range links {
		if !headings[l[1]] {
			t.Errorf("no heading for #%s", l[1])
		}
	}
	if len(links) != len(headings)-1 { // nothing leads to the top level
		t.Errorf("%d links to %d sections", len(links), len(headings))
	}
}

func TestALineReadsAsAPersonWouldWriteIt(t *testing.T) {
	for want, s := range map[string]config.Setting{
		"| `k` | `64` | 1 to 100000 | at once | m |\n": {
			Type: "whole number", Default: "64", Min: "1", Max: "100000", Effect: "live",
		},
		"| `k` | `15m` | 1s to 720h, or 0s (no limit) | at once | m |\n": {
			Type: "duration", Default: "15m", Min: "1s", Max: "720h", Zero: "no limit", Effect: "live",
		},
		"| `k` | `4MiB` | 0 (no body) to 1GiB | new connections | m |\n": {
			Type: "size", Default: "4MiB", Max: "1GiB", Zero: "no body", Effect: "new connections",
		},
		"| `k` | `0` | 0 (no limit) or more | restart | m |\n": {
			Type: "whole number", Default: "0", Zero: "no limit", Effect: "restart",
		},
		"| `k` | `2` | 1 or more | restart | m |\n": {
			Type: "whole number", Default: "2", Min: "1", Effect: "restart",
		},
		"| `k` | `\"1.2\"` | `\"1.2\"`, `\"1.3\"` | restart | m |\n": {
			Type: "text", Default: "1.2", Allowed: []string{"1.2", "1.3"}, Effect: "restart",
		},
		"| `k` | required | a name | at once | m |\n": {
			Type: "text", Required: true, Form: "a name", Effect: "live",
		},
		"| `k` | empty | any text | at once | m |\n": {
			Type: "text", Effect: "live",
		},
		"| `k` | `[\"a\", \"b\"]` | a list; each a DNS name | at once | m |\n": {
			Type: "text", List: true, Default: `["a", "b"]`, Form: "a DNS name", Effect: "live",
		},
	} {
		if got := line("", row{name: "k", meaning: "m", setting: &s}); got != want {
			t.Errorf("\n got %s want %s", got, want)
		}
	}
}

func TestNothingInACommentBecomesMarkup(t *testing.T) {
	got := line("", row{name: "k", meaning: "a|b <i> 2*3*4 R&D, but `c<d|*` stays"})
	if want := "| [`k`](#k) |  |  |  | a\\|b &lt;i> 2\\*3\\*4 R&amp;D, but `c<d\\|*` stays |\n"; got != want {
		t.Errorf("\n got %s want %s", got, want)
	}
}

func TestASettingThatOnlyOneSideKnowsIsAnError(t *testing.T) {
	file := protodesc.ToFileDescriptorProto(warmpoolv1.File_warmpool_v1_upstream_proto)
	for _, m := range file.GetMessageType() {
		for _, f := range m.GetField() {
			if f.GetName() == "max_dialing" {
				f.Name = new("max_handshakes")
			}
		}
	}
	schema, err := protodesc.NewFile(file, protoregistry.GlobalFiles)
	if err != nil {
		t.Fatal(err)
	}
	_, err = sectionsOf(schema.Messages().ByName("Config"))
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		"upstreams[].connections.max_handshakes is in the proto files but not in the generated code: run make generate",
		"upstreams[].connections.max_dialing is in the generated code but not in the proto files: run make generate",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nwant: %s", err, want)
		}
	}
}

func TestReplaceTouchesNothingElse(t *testing.T) {
	const remark = begin + " by make generate -->\n"
	for readme, want := range map[string]string{
		"# a\n" + remark + end + "\n# b\n":                     "# a\n" + remark + "\nnew\n\n" + end + "\n# b\n",
		"# a\n\n" + remark + "\nold\n\nlines\n\n" + end + "\n": "# a\n\n" + remark + "\nnew\n\n" + end + "\n",
		remark + end: remark + "\nnew\n\n" + end,
		"See `" + begin + "` here.\n" + remark + end: "See `" + begin + "` here.\n" + remark + "\nnew\n\n" + end,
	} {
		got, err := replace(readme, "new\n\n")
		if err != nil || got != want {
			t.Errorf("%q: %v\n got %q\nwant %q", readme, err, got, want)
		}
		if again, err := replace(got, "new\n\n"); err != nil || again != got {
			t.Errorf("%q: writing twice is not writing once: %v\n%q", readme, err, again)
		}
	}
}

func TestReplaceRefusesAReadmeWithoutItsPlace(t *testing.T) {
	const remark = begin + " by make generate -->\n"
	for readme, want := range map[string]string{
		"":                                 `0 lines begin with "<!-- settings:"`,
		remark:                             `0 lines begin with "<!-- /settings -->"`,
		end + "\n":                         `0 lines begin with "<!-- settings:"`,
		remark + end + "\n" + remark + end: `2 lines begin with "<!-- settings:"`,
		end + "\n" + remark:                `"<!-- /settings -->" stands before "<!-- settings:"`,
	} {
		if _, err := replace(readme, ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", readme, err, want)
		}
	}
}

func TestCheckComparesAndDoesNotWrite(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"buf.yaml", "proto", ".ci", "go.mod", "go.sum"} {
		absolute, err := filepath.Abs(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(absolute, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	readme := filepath.Join(dir, "README.md")
	stale := "# a\n" + begin + " -->\n\nold\n\n" + end + "\n# b\n"
	if err := os.WriteFile(readme, []byte(stale), 0o600); err != nil {
		t.Fatal(err)
	}

	err := run(t.Context(), dir, []string{"-check"}, t.Output())
	if err == nil || !strings.Contains(err.Error(), "run make generate\nline 4\n- old\n+ ### Top level") {
		t.Errorf("-check of a README that is behind: %v", err)
	}
	if got, _ := os.ReadFile(readme); string(got) != stale {
		t.Errorf("-check wrote:\n%s", got)
	}
	if err := run(t.Context(), dir, nil, t.Output()); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), dir, []string{"-check"}, t.Output()); err != nil {
		t.Errorf("-check after writing: %v", err)
	}
	if got, _ := os.ReadFile(readme); !strings.HasPrefix(string(got), "# a\n") || !strings.HasSuffix(string(got), end+"\n# b\n") {
		t.Errorf("the rest of the README was not left alone:\n%s", got)
	}
}
