package config

import (
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

func TestTheSchemaCompiles(t *testing.T) {
	// Compiling parses every bound and holds every default against them.
	if _, err := compile((*warmpoolv1.Config)(nil).ProtoReflect().Descriptor()); err != nil {
		t.Fatal(err)
	}
	if err := checked(WithDefaults(&warmpoolv1.Config{})); err != nil {
		t.Errorf("the defaults are not valid: %v", err)
	}
}

func TestEverySettingSaysWhenAChangeCounts(t *testing.T) {
	for _, s := range Describe() {
		if s.Effect == "" {
			t.Errorf("%s has no effect", s.Path)
		}
		if s.Summary() == "" || s.Type == "" {
			t.Errorf("%s: %+v", s.Path, s)
		}
	}
}

func TestNoKeyBreaksWhatViperDoesToKeys(t *testing.T) {
	for _, s := range Describe() {
		if strings.Contains(s.Path, delimiter) || s.Path != strings.ToLower(s.Path) {
			t.Errorf("%s: viper would not find it", s.Path)
		}
	}
}

func TestEachFormatHasACheck(t *testing.T) {
	for number, name := range warmpoolv1.Setting_Format_name {
		if formats[warmpoolv1.Setting_Format(number)] == nil {
			t.Errorf("%s has no check", name)
		}
	}
}

func TestWithDefaultsLeavesItsArgumentAndWhatIsSet(t *testing.T) {
	u := &warmpoolv1.Upstream{Name: "a", Connections: &warmpoolv1.Connections{Warm: proto.Uint32(0), Max: proto.Uint32(2)}}
	before := proto.Clone(u)
	full := WithDefaults(u)
	if !proto.Equal(u, before) {
		t.Error("the argument was changed")
	}
	if full.GetConnections().GetMax() != 2 || full.GetConnections().GetMaxDialing() != 8 || full.GetQueue().GetMaxWaiting() != 1024 {
		t.Errorf("%v", full)
	}
	if again := WithDefaults(full); !proto.Equal(again, full) {
		t.Error("filling in twice is not filling in once")
	}
	if WithDefaults[*warmpoolv1.Upstream](nil).GetConnections().GetMax() != 64 {
		t.Error("a nil upstream has no defaults")
	}
}

// secretSection is a message of which one setting is a secret. The schema has
// none yet.
func secretSection(t *testing.T) *section {
	t.Helper()
	options := new(descriptorpb.FieldOptions)
	proto.SetExtension(options, warmpoolv1.E_Setting, &warmpoolv1.Setting{
		Secret: true, Allowed: []string{"right"}, Effect: warmpoolv1.Setting_EFFECT_LIVE,
	})
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: new("secret.proto"), Syntax: new("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{{
			Name: new("Secret"),
			Field: []*descriptorpb.FieldDescriptorProto{{
				Name: new("token"), Number: new(int32(1)), Options: options,
				Type:  descriptorpb.FieldDescriptorProto_TYPE_STRING.Enum(),
				Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
			}},
		}},
	}, protoregistry.GlobalFiles)
	if err != nil {
		t.Fatal(err)
	}
	s, err := compile(file.Messages().Get(0))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestTheValueOfASecretIsNeverShown(t *testing.T) {
	s := secretSection(t)
	for _, value := range []*node{
		{kind: nodeText, text: "hunter2"},
		{kind: nodeInteger, text: "4711"},
		{kind: nodeList, items: []*node{{kind: nodeText, text: "hunter2"}}},
	} {
		p := newProblems()
		document := &node{kind: nodeTable}
		document.append(pair{key: "token", line: 1, value: value})
		p.table(s, document, "")
		found := problemsOf(t, p.err("secret.yaml"))
		if text := p.err("secret.yaml").Error(); strings.Contains(text, "hunter2") || strings.Contains(text, "4711") || found[0].Value != hidden {
			t.Error(text)
		}
	}
	p := newProblems()
	p.texts(s.entries[0], "WARMPOOL_TOKEN", "token", []string{"hunter2"})
	p.value(s.entries[0].setting, protoreflect.ValueOfString("hunter2"), "token")
	if text := p.err("").Error(); strings.Contains(text, "hunter2") || strings.Count(text, hidden) != 2 {
		t.Error(text)
	}
}

func TestDescribeListsEachSettingOnce(t *testing.T) {
	paths := make([]string, 0, 64)
	for _, s := range Describe() {
		paths = append(paths, s.Path)
		if fromFileOnly := strings.Contains(s.Path, "[]."); fromFileOnly != (s.Variable == "") || fromFileOnly != (s.Flag == "") {
			t.Errorf("%s: variable %q, flag %q", s.Path, s.Variable, s.Flag)
		}
	}
	slices.Sort(paths)
	if all := len(paths); all != len(slices.Compact(paths)) || all < 50 {
		t.Errorf("%d settings", all)
	}
	i := slices.IndexFunc(Describe(), func(s Setting) bool { return s.Path == "upstreams[].connections.max_idle_time" })
	if got := Describe()[i]; got.Range() != "100ms to 24h, or 0s (no limit of its own)" || got.Effect != "live" || got.Type != "duration" || got.Default != "55s" {
		t.Errorf("%+v", got)
	}
}
