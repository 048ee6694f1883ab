package client

import (
	"context"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// wish is what a context asks of the calls made with it.
type wish struct {
	stream     bool
	idempotent bool
	receipt    func(*warmpoolv1.Receipt)
}

type wishKey struct{}

func wishOf(ctx context.Context) wish {
	w, _ := ctx.Value(wishKey{}).(wish)
	return w
}

// WithStream has requests made with the context sent as a Stream: their responses
// are returned with the head, and may be of any length. The package's documentation
// says when the client does so by itself.
func WithStream(ctx context.Context) context.Context {
	w := wishOf(ctx)
	w.stream = true
	return context.WithValue(ctx, wishKey{}, w)
}

// WithIdempotent gives the caller's word that carrying out a request twice does no
// harm, whatever its method: the sidecar may then send it again as it does a GET. A
// field Idempotency-Key in the request does the same.
func WithIdempotent(ctx context.Context) context.Context {
	w := wishOf(ctx)
	w.idempotent = true
	return context.WithValue(ctx, wishKey{}, w)
}

// WithReceipt has told called with the receipt of each request made with the
// context: which connection it took, new or reused, and where the time went. It is
// called at most once for a request, before Do returns, or for a Stream before its
// body's Read returns io.EOF; for a request that fails, the receipt is in the
// Failure.
func WithReceipt(ctx context.Context, told func(*warmpoolv1.Receipt)) context.Context {
	w := wishOf(ctx)
	w.receipt = told
	return context.WithValue(ctx, wishKey{}, w)
}
