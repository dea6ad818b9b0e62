package image

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"syscall"
	"time"

	"github.com/plimsoll/plimsoll"
)

const (
	// attempts to get an answer to one request.
	attempts = 5
	// resumes of one blob whose connection breaks.
	resumes = 10
	// trickle is how many bytes have to arrive while one waits as long as a
	// stall may take.
	trickle = 64 << 10
	// longestPause before a retry that the registry did not ask for.
	longestPause = 15 * time.Second
)

var (
	// errStalled is a response whose body stopped arriving.
	errStalled = errors.New("no byte, or next to none, arrived for too long")
	// errSize is content whose length is not what its descriptor says.
	errSize  = errors.New("its size is not what the manifest says")
	errPlain = errors.New("plain HTTP is not used: it can be read and changed on its way")
)

// newTransport is how registries are spoken to. One serves all the registries
// of one Open.
func newTransport(o Options) http.RoundTripper {
	t := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:    10 * time.Second,
		ResponseHeaderTimeout:  o.timing.header,
		MaxResponseHeaderBytes: 1 << 20,
		IdleConnTimeout:        30 * time.Second,
		MaxIdleConnsPerHost:    8,
		ForceAttemptHTTP2:      true,
		// A digest is that of the bytes as stored: nobody may recode them.
		DisableCompression: true,
	}
	if o.Insecure {
		t.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} // the operator asked for it
	}
	return &patient{inner: t, timing: o.timing, insecure: o.Insecure, progress: o.Progress}
}

// patient repeats requests that a registry did not answer, or answered with
// "not now".
type patient struct {
	inner    http.RoundTripper
	timing   timing
	insecure bool
	progress func(string)
}

// RoundTrip implements http.RoundTripper.
func (p *patient) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme == "http" && !p.insecure && !isLoopback(req.URL.Hostname()) {
		return nil, errPlain
	}
	for try := 1; ; try++ {
		if try > 1 && req.Body != nil {
			body, err := req.GetBody()
			if err != nil {
				return nil, err
			}
			req.Body = body
		}
		resp, err := p.inner.RoundTrip(req)
		again, asked := retryable(resp, err)
		if !again || try == attempts || req.Body != nil && req.GetBody == nil {
			return resp, err
		}
		if asked > p.timing.asked {
			return resp, err // it says so in its header; see explain
		}
		wait := pause(p.timing.pause, try, asked)
		var why string
		if err != nil {
			why = err.Error()
		} else {
			why = resp.Status
			_, _ = io.CopyN(io.Discard, resp.Body, 64<<10) // so that the connection can be used again
			_ = resp.Body.Close()
		}
		p.progress(fmt.Sprintf("%s: %s, trying again in %s", req.URL.Host, why, wait.Round(100*time.Millisecond)))
		if err := sleep(req.Context(), wait); err != nil {
			return nil, err
		}
	}
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// retryable tells whether the same request may do better later, and how long
// the server asks to wait, if it does.
func retryable(resp *http.Response, err error) (again bool, asked time.Duration) {
	if err != nil {
		var op *net.OpError
		if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) ||
			errors.As(err, &op) && op.Op == "dial" {
			return false, 0 // nobody is there: later will not be different
		}
		var netErr net.Error
		return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) ||
			errors.Is(err, syscall.EPIPE) || errors.As(err, &netErr) && netErr.Timeout(), 0
	}
	switch resp.StatusCode {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true, retryAfter(resp)
	}
	return false, 0
}

// retryAfter reads the header of that name (RFC 9110, section 10.2.3).
func retryAfter(resp *http.Response) time.Duration {
	value := resp.Header.Get("Retry-After")
	if seconds, err := strconv.Atoi(value); err == nil && seconds >= 0 {
		return time.Duration(min(seconds, 1<<30)) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}

// pause doubles with every try. A random part keeps many clients from coming
// back at the same moment.
func pause(first time.Duration, try int, asked time.Duration) time.Duration {
	wait := max(min(first<<min(try-1, 16), longestPause), asked)
	return wait + rand.N(wait/4+1)
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// watched is a response's body that gives up when next to nothing arrives.
// Only the time inside Read counts: a slow reader is not the registry's fault.
type watched struct {
	io.ReadCloser
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	stall  time.Duration
	waited time.Duration // for the bytes that have arrived since
	got    int
}

// watch watches over the body of a response to a request with ctx, which
// cancel ends.
func watch(ctx context.Context, cancel context.CancelCauseFunc, body io.ReadCloser, stall time.Duration) *watched {
	timer := time.AfterFunc(stall, func() { cancel(errStalled) })
	timer.Stop()
	return &watched{ReadCloser: body, ctx: ctx, cancel: cancel, timer: timer, stall: stall}
}

func (w *watched) Read(b []byte) (int, error) {
	began := time.Now()
	w.timer.Reset(w.stall - w.waited)
	n, err := w.ReadCloser.Read(b)
	w.timer.Stop()
	w.waited += time.Since(began)
	if w.got += n; w.got >= trickle {
		w.waited, w.got = 0, 0
	}
	if err != nil && !errors.Is(err, io.EOF) && w.ctx.Err() != nil {
		err = context.Cause(w.ctx)
	}
	return n, err
}

// Close ends the request, whatever is left of its body.
func (w *watched) Close() error {
	w.timer.Stop()
	w.cancel(context.Canceled)
	return w.ReadCloser.Close()
}

// resumed reads a blob to its end over as many connections as that takes,
// within bounds.
type resumed struct {
	ctx context.Context
	// open starts to read at offset, or at the beginning where the server
	// cannot do that; start says which.
	open     func(ctx context.Context, offset int64) (body io.ReadCloser, start int64, err error)
	progress func(string)
	pause    time.Duration
	size     int64

	body   io.ReadCloser // nil after it broke
	at     int64         // of body
	offset int64         // of what was given out
	tries  int
}

// Read implements io.Reader. It gives size bytes at most.
func (r *resumed) Read(b []byte) (int, error) {
	for r.offset < r.size {
		n, err := r.once(b)
		if n > 0 || err == nil {
			return n, nil // an error comes again with the next Read
		}
		if r.body != nil {
			_ = r.body.Close()
			r.body = nil
		}
		if r.ctx.Err() != nil {
			return 0, context.Cause(r.ctx)
		}
		var status *statusError
		if errors.As(err, &status) || errors.Is(err, errSize) {
			return 0, err // asking again would give the same answer
		}
		if r.tries++; r.tries > resumes {
			return 0, fmt.Errorf("the connection broke %d times, at last after %d of %d bytes: %w", r.tries, r.offset, r.size, err)
		}
		wait := pause(r.pause, min(r.tries, 4), 0)
		r.progress(fmt.Sprintf("the connection broke after %d of %d bytes (%v), going on in %s", r.offset, r.size, err, wait.Round(100*time.Millisecond)))
		if err := sleep(r.ctx, wait); err != nil {
			return 0, err
		}
	}
	return 0, io.EOF
}

// once reads from one connection.
func (r *resumed) once(b []byte) (int, error) {
	if r.body == nil {
		body, start, err := r.open(r.ctx, r.offset)
		if err != nil {
			return 0, err
		}
		r.body, r.at = body, start
	}
	for r.at < r.offset { // given out already
		n, err := r.body.Read(b[:min(int64(len(b)), r.offset-r.at)])
		r.at += int64(n)
		if err != nil && r.at < r.offset {
			return 0, early(err)
		}
	}
	n, err := r.body.Read(b[:min(int64(len(b)), r.size-r.offset)])
	r.at += int64(n)
	r.offset += int64(n)
	return n, early(err)
}

// early: the caller knows how many bytes there are, so any end is too early.
func early(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (r *resumed) Close() error {
	if r.body == nil {
		return nil
	}
	return r.body.Close()
}

// statusError is an answer that is none.
type statusError struct {
	code int
	text string
}

func (e *statusError) Error() string { return e.text }

// place is a URL without what may be secret: user, query.
func place(u *url.URL) string { return u.Scheme + "://" + u.Host + u.EscapedPath() }

// redacted keeps out of an error of http.Client what may be secret in the URL
// of a redirect.
func redacted(err error) error {
	var u *url.Error
	if !errors.As(err, &u) {
		return err
	}
	parsed, parseErr := url.Parse(u.URL)
	if parseErr != nil {
		return u.Err
	}
	return fmt.Errorf("%s: %w", place(parsed), u.Err)
}

// explainNet adds hints to errors of the connection.
func explainNet(err error) error {
	switch {
	case isCertificate(err):
		return plimsoll.WithHint(err, "add the registry's certificate authority to the system's (or name it in SSL_CERT_FILE); --insecure does not verify")
	case errors.Is(err, errPlain), errors.Is(err, http.ErrSchemeMismatch):
		return plimsoll.WithHint(err, "if the registry has no TLS and the network is trusted: --insecure")
	}
	return err
}

func isCertificate(err error) bool {
	var certificate *tls.CertificateVerificationError
	return errors.As(err, &certificate)
}
