package table

import (
	"strings"
	"testing"
)

func TestTableIsAlignedWhateverTheScript(t *testing.T) {
	var b strings.Builder
	Table{
		{"", "CPU", "p50"},
		{"", "µs/request", "µs"},
		{"a long name", "1.5", "1234"},
		{"gone", "a remark of any length"},
		{"ß", "–", "7"},
	}.Print(&b)
	want := `
                      CPU   p50
               µs/request    µs
  a long name         1.5  1234
  gone         a remark of any length
  ß                     –     7
`
	if got := "\n" + b.String(); got != want {
		t.Errorf("got%swant%s", got, want)
	}
}
