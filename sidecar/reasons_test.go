package sidecar

import (
	"os"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

func TestTheReadmeListsEveryReasonWithWhatToDo(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range []struct {
		mark, prefix string
		enum         protoreflect.EnumDescriptor
	}{
		{"reasons", "REASON_", warmpoolv1.Reason(0).Descriptor()},
		{"close reasons", "CLOSE_REASON_", warmpoolv1.CloseReason(0).Descriptor()},
	} {
		var want []string
		for i := range list.enum.Values().Len() {
			if v := list.enum.Values().Get(i); v.Number() != 0 { // not set
				want = append(want, strings.TrimPrefix(string(v.Name()), list.prefix))
			}
		}
		_, after, _ := strings.Cut(string(readme), "<!-- "+list.mark+" -->\n\n")
		table, _, _ := strings.Cut(after, "\n<!-- /"+list.mark+" -->")
		rows := strings.Split(strings.TrimSpace(table), "\n")
		var got []string
		for _, row := range rows[min(2, len(rows)):] { // below the heading and its line
			cells := strings.Split(strings.Trim(row, "|"), "|")
			if len(cells) != 3 || slices.ContainsFunc(cells, func(cell string) bool { return strings.TrimSpace(cell) == "" }) {
				t.Errorf("%s: the row %q must hold a name, a meaning and what to do", list.mark, row)
				continue
			}
			got = append(got, strings.Trim(cells[0], " `"))
		}
		if !slices.Equal(got, want) {
			t.Errorf("between its marks README.md lists the %s\n%q\nthe proto has\n%q", list.mark, got, want)
		}
	}
}
