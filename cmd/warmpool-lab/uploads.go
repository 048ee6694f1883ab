package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

const (
	uploadSize = 1_000_000
	// uploadAmong is how many connections there are to choose from.
	uploadAmong = 4
	// uploadIdle passes after the last use of any of them.
	uploadIdle = 50 * time.Millisecond
)

// UploadFigures is what uploads showed when one connection among several had
// sent much shortly before.
type UploadFigures struct {
	SlowStartAfterIdle bool            `json:"slow_start_after_idle"`
	Took               []time.Duration `json:"took_ns"`
	Wide               int             `json:"wide"` // uploads that were given the connection with the wide window
	Failures           int             `json:"failures"`
	First              string          `json:"first_failure,omitempty"`
}

func (c *caller) uploads(ctx context.Context) *UploadFigures {
	f := &UploadFigures{}
	v, ok := c.ways[Warmpool].(*viaSidecar)
	if !ok {
		return f
	}
	for _, s := range c.Plan.choosing() {
		took, wide, err := c.upload(ctx, v, s)
		if err != nil {
			f.Failures++
			if f.First == "" {
				f.First = err.Error()
			}
			continue
		}
		f.Took = append(f.Took, took)
		if wide {
			f.Wide++
		}
	}
	return f
}

// upload widens the window of one connection by two uploads, uses all of them
// for a small request each, so that which one was used last says nothing, and
// measures another upload.
func (c *caller) upload(ctx context.Context, v *viaSidecar, s Slot) (took time.Duration, wide bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	large := request{size: uploadSize, up: true}
	var widened *warmpoolv1.Receipt
	for range 2 {
		before := widened
		if widened, err = v.ask(ctx, s, large); err != nil {
			return 0, false, err
		}
		if before != nil && before.GetConnectionId() != widened.GetConnectionId() {
			return 0, false, errors.New("two uploads one after another went over two connections")
		}
	}
	receipts, err := v.askTogether(ctx, s, request{size: c.Plan.Sizes[0]}, uploadAmong)
	if err != nil {
		return 0, false, err
	}
	used := make(map[uint64]bool)
	for _, r := range receipts {
		used[r.GetConnectionId()] = true
	}
	if len(used) != uploadAmong || !used[widened.GetConnectionId()] {
		return 0, false, fmt.Errorf("%d requests at once used %d connections, must be that many, the one of the uploads among them", uploadAmong, len(used))
	}
	time.Sleep(uploadIdle)
	began := time.Now()
	receipt, err := v.ask(ctx, s, large)
	took = time.Since(began)
	return took, receipt.GetConnectionId() == widened.GetConnectionId(), err
}
