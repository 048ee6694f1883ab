package main

import (
	"encoding/json"
	"os"
	"reflect"
	"slices"

	"github.com/warmpool-dev/warmpool/cmd/internal/command"
)

// kept reads the report of an earlier run, of which this one measures some parts
// anew; nil when none is asked for.
func (o options) kept() (*Report, error) {
	if o.keep == "" {
		return nil, nil //nolint:nilnil // said above
	}
	text, err := os.ReadFile(o.keep)
	if err != nil {
		return nil, command.Usagef("-keep: %w", err)
	}
	var r Report
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, command.Usagef("-keep: %s: %w", o.keep, err)
	}
	if !reflect.DeepEqual(r.Plan, o.plan) || r.Link != o.setting {
		return nil, command.Usagef("-keep: %s was measured by another plan or on another link: one table cannot hold both", o.keep)
	}
	return &r, nil
}

// drop removes what sections have shown.
func (r *Report) drop(sections []Section) {
	dropped := func(s Section) bool { return slices.Contains(sections, s) }
	r.Parts = slices.DeleteFunc(r.Parts, func(p Part) bool { return dropped(p.Section) })
	r.Samples = slices.DeleteFunc(r.Samples, func(m Measured) bool { return dropped(m.Cell.section(&r.Plan)) })
	if dropped(ObjectRound) {
		r.Fetched = nil
	}
	if dropped(PostRound) {
		r.Posts = nil
	}
	if dropped(UploadRound) {
		r.Uploads = nil
	}
	if dropped(LoadRound) {
		r.Loaded = nil
	}
	if dropped(KeptRound) {
		r.Keeping = nil
	}
}

// section is the one that measures a cell.
func (c Cell) section(p *Plan) Section {
	switch {
	case c.Way == NewConnection:
		return New
	case c.Shape.Size == p.Sizes[0] && c.Shape.Burst == 1:
		return LightRound
	}
	return HeavyRound
}
