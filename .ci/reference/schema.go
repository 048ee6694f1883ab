package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/warmpool-dev/warmpool/sidecar/config"
)

// section is a message of the configuration: its own settings, and links to the
// sections inside it.
type section struct {
	path  string // the key's path, such as upstreams[].connections; empty at the top
	intro string
	rows  []row
}

// row is a setting or a section inside.
type row struct {
	name    string // the key
	meaning string
	setting *config.Setting // nil for a section
}

// readSchema returns the message of the configuration, with the comments of the
// proto files in the repository at root. Generated code has lost them.
func readSchema(ctx context.Context, root string, messages io.Writer) (protoreflect.MessageDescriptor, error) {
	buf := exec.CommandContext(ctx, "go", "tool", "-modfile=.ci/tools/buf/go.mod", "buf", "build", "-o", "-")
	buf.Dir = root
	buf.Stderr = messages
	image, err := buf.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", strings.Join(buf.Args, " "), err)
	}
	set := new(descriptorpb.FileDescriptorSet)
	if err := proto.Unmarshal(image, set); err != nil {
		return nil, fmt.Errorf("the output of buf build: %w", err)
	}
	files, err := protodesc.NewFiles(set)
	if err != nil {
		return nil, fmt.Errorf("the output of buf build: %w", err)
	}
	const name = "warmpool.v1.Config"
	found, err := files.FindDescriptorByName(name)
	if err != nil {
		return nil, err
	}
	message, ok := found.(protoreflect.MessageDescriptor)
	if !ok {
		return nil, fmt.Errorf("%s is a %T, not a message", name, found)
	}
	return message, nil
}

// sectionsOf lists the sections of the configuration, each before those inside
// it, in the order of their declaration. It fails unless the proto files and the
// loader know the same settings.
func sectionsOf(config protoreflect.MessageDescriptor) ([]section, error) {
	w := walk{known: knownSettings()}
	w.section(config, "")
	for path := range w.known {
		w.errs = append(w.errs, fmt.Errorf("%s is in the generated code but not in the proto files: run make generate", path))
	}
	return w.sections, errors.Join(w.errs...)
}

func knownSettings() map[string]config.Setting {
	known := make(map[string]config.Setting)
	for _, s := range config.Describe() {
		known[s.Path] = s
	}
	return known
}

type walk struct {
	known    map[string]config.Setting // by path; those not met yet
	sections []section
	errs     []error
}

func (w *walk) section(message protoreflect.MessageDescriptor, path string) {
	at := len(w.sections)
	w.sections = append(w.sections, section{path: path, intro: introduction(message)})
	for i := range message.Fields().Len() {
		field := message.Fields().Get(i)
		r := row{name: string(field.Name()), meaning: comment(field)}
		inside := r.name
		if path != "" {
			inside = path + "." + r.name
		}
		if m := field.Message(); m != nil && m.FullName() != "google.protobuf.Duration" {
			if field.IsList() {
				inside += "[]"
			}
			w.section(m, inside)
		} else if s, ok := w.known[inside]; ok {
			delete(w.known, inside)
			r.setting = &s
		} else {
			w.errs = append(w.errs, fmt.Errorf("%s is in the proto files but not in the generated code: run make generate", inside))
		}
		w.sections[at].rows = append(w.sections[at].rows, r)
	}
}

// comment is what stands above a declaration, in one line.
func comment(d protoreflect.Descriptor) string {
	return strings.Join(strings.Fields(d.ParentFile().SourceLocations().ByDescriptor(d).LeadingComments), " ")
}

// introduction is the message's comment as it reads below a heading: without the
// message's name, by which the comment begins.
func introduction(message protoreflect.MessageDescriptor) string {
	text, named := strings.CutPrefix(comment(message), string(message.Name())+" ")
	if !named {
		return text
	}
	text = strings.TrimPrefix(text, "is ")
	return strings.ToUpper(text[:1]) + text[1:]
}
