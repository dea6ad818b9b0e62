package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/docker/go-connections/sockets"
	"github.com/moby/moby/client"

	"github.com/plimsoll/plimsoll"
)

// connect makes a client for the engine, which does not connect until it is
// used. So the address is tried first: the client keeps no reason why a
// connection failed, and the reasons differ in what to do next.
func (d daemon) connect(ctx context.Context, source string) (*client.Client, error) {
	u, err := client.ParseHostURL(d.url)
	if err != nil {
		return nil, err
	}
	scheme := "http"
	if d.tls != nil {
		scheme = "https"
	}
	transport := &http.Transport{TLSClientConfig: d.tls, ReadBufferSize: 128 << 10}
	switch u.Scheme {
	case "unix":
		if err := tryAddress(ctx, u.Scheme, u.Host); err != nil {
			return nil, err
		}
	case "tcp":
		if u.Port() == "" {
			u.Host = net.JoinHostPort(u.Hostname(), map[string]string{"http": "2375", "https": "2376"}[scheme])
		}
		proxy, err := http.ProxyFromEnvironment(&http.Request{URL: &url.URL{Scheme: scheme, Host: u.Host}})
		if err != nil {
			return nil, err
		}
		if proxy == nil {
			if err := tryAddress(ctx, u.Scheme, u.Host); err != nil {
				return nil, err
			}
		}
	case "npipe", "ssh":
	default:
		return nil, plimsoll.WithHint(fmt.Errorf("an engine's address cannot begin with %s://", u.Scheme),
			"it is unix://SOCKET, tcp://HOST:PORT, ssh://HOST or npipe://PIPE")
	}
	if u.Scheme == "ssh" {
		if u, err = url.Parse(d.url); err != nil {
			return nil, err
		}
		remote := *u
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialSSH(ctx, source, &remote)
		}
		u = &url.URL{Scheme: "unix", Host: "/" + u.Hostname()} // only the form matters to the client
	} else if err := sockets.ConfigureTransport(transport, u.Scheme, u.Host); err != nil {
		return nil, err
	}
	transport.DisableCompression = true // layers mostly are compressed already
	options := []client.Opt{
		client.WithHost(u.Scheme + "://" + u.Host + u.Path), // before the transport, which it would change
		client.WithHTTPClient(&http.Client{Transport: capped{transport}, CheckRedirect: client.CheckRedirect}),
		client.WithScheme(scheme),
		client.WithUserAgent("plimsoll"),
	}
	if source == "docker" {
		options = append(options, client.WithAPIVersionFromEnv())
	}
	return client.New(options...)
}

// tryAddress connects once. The error is errNotHere when nobody listens there,
// and wraps fs.ErrPermission when we may not speak to whoever does.
func tryAddress(ctx context.Context, network, address string) error {
	dialer := net.Dialer{Timeout: 10 * time.Second}
	conn, err := dialer.DialContext(ctx, network, address)
	switch {
	case err == nil:
		return conn.Close()
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, fs.ErrPermission):
		return plimsoll.WithHint(fmt.Errorf("no permission to use %s: %w", address, fs.ErrPermission),
			"run as root, or as a member of the group that owns the socket")
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: there is no socket %s", errNotHere, address)
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err // the address is told already
	}
	return fmt.Errorf("%w: nobody listens at %s: %w", errNotHere, address, err)
}

// answerLimit bounds what an engine may answer to a question, which the client
// library reads whole.
const answerLimit = 16 << 20

// capped ends every answer but an image at answerLimit.
type capped struct{ *http.Transport }

func (c capped) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := c.Transport.RoundTrip(req)
	if err == nil && !strings.HasSuffix(req.URL.Path, "/images/get") {
		resp.Body = &cappedBody{resp.Body, answerLimit}
	}
	return resp, err
}

type cappedBody struct {
	io.ReadCloser
	left int
}

func (b *cappedBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, fmt.Errorf("the answer has more than %d MiB", answerLimit>>20)
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}
