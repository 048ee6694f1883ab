package pool

import (
	"time"

	"github.com/warmpool-dev/warmpool/pool/h1"
)

// Request is one HTTP request with its whole body. It must not be changed
// until Do has returned.
type Request struct {
	Method string     // a token; empty means GET
	Path   string     // path and query as they go on the wire; empty means "/"
	Fields []h1.Field // header fields in order; duplicates are kept, hop-by-hop ones are not sent
	Body   []byte
	Stream *RequestBody // the body piece by piece, instead of Body

	Unbounded bool // the response's body may be of any length: its sink does not keep it

	Timeout    time.Duration // for the whole exchange, waiting included; 0: only the context's deadline
	Idempotent bool          // the caller's word that sending it twice does no harm, whatever the method
	Tracer     Tracer        // follows it through its attempts; nil: nobody does
	Receipt    bool          // ask for Response.Receipt and Error's receipt
}

// Response is the final response to a Request.
type Response struct {
	Status   int
	Fields   []h1.Field // end-to-end header fields in the order received
	Body     []byte
	Trailers []h1.Field // never merged into Fields (RFC 9110, 6.5.1)
	Receipt  *Receipt   // nil unless asked for
}
