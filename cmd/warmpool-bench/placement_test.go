package main

import (
	"slices"
	"testing"
)

func TestWhatIsMeasuredHasACPUToItselfWhereThereAreTwo(t *testing.T) {
	for _, tt := range []struct {
		cpus, peer, others []int
		said               string
	}{
		{nil, nil, nil, "processes on any CPU"},
		{[]int{3}, nil, nil, "processes on any CPU"},
		{[]int{0, 1}, []int{1}, []int{0}, "what is measured on CPU 1, the others elsewhere"},
		{[]int{2, 5, 7}, []int{7}, []int{2, 5}, "what is measured on CPU 7, the others elsewhere"},
	} {
		p := place(tt.cpus)
		if !slices.Equal(p.peer, tt.peer) || !slices.Equal(p.others, tt.others) || p.String() != tt.said {
			t.Errorf("of CPUs %d: %d and %d, %q", tt.cpus, p.peer, p.others, p)
		}
	}
}
