package client

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"sync/atomic"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

var errBodyClosed = errors.New("http: read on closed response body")

// heldBody is the body of a response that is there in whole.
type heldBody struct {
	ctx      context.Context
	response *http.Response
	trailer  http.Header // becomes the response's at the end of the body
	rest     []byte
	closed   atomic.Bool
}

// Read implements io.Reader. The call's context ends the body as it would end one
// that is still on its way.
func (b *heldBody) Read(p []byte) (int, error) {
	switch {
	case b.closed.Load():
		return 0, errBodyClosed
	case b.ctx.Err() != nil:
		return 0, ended(b.ctx, warmpoolv1.Delivery_DELIVERY_RESPONDED)
	case len(b.rest) == 0:
		addTrailers(b.response, b.trailer)
		b.trailer = nil
		return 0, io.EOF
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

// Close implements io.Closer.
func (b *heldBody) Close() error {
	b.closed.Store(true)
	return nil
}

// unzipped undoes the compression of a body.
type unzipped struct {
	compressed io.ReadCloser
	reader     *gzip.Reader
	err        error
}

// Read implements io.Reader. The first one reads the compression's head.
func (u *unzipped) Read(p []byte) (int, error) {
	if u.err != nil {
		return 0, u.err
	}
	if u.reader == nil {
		if u.reader, u.err = gzip.NewReader(u.compressed); u.err != nil {
			u.reader = nil
			return 0, u.err
		}
	}
	return u.reader.Read(p)
}

// Close implements io.Closer.
func (u *unzipped) Close() error { return u.compressed.Close() }
