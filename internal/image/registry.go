package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/plimsoll/plimsoll"
)

// registry is one image's repository, at its registry and at mirrors of it
// (OCI distribution specification 1.1, "Pull").
type registry struct {
	o Options
	// places where to look: mirrors, then the registry itself.
	places []*endpoint
}

// openRegistry opens the image ref of a registry.
func openRegistry(ctx context.Context, ref string, o Options) ([]*Image, error) {
	var nameOptions []name.Option
	if o.Insecure {
		nameOptions = append(nameOptions, name.Insecure)
	}
	parsed, err := name.ParseReference(ref, nameOptions...)
	if err != nil {
		return nil, fmt.Errorf("%s is no image reference: %w", quote(ref), err)
	}
	r, err := newRegistry(parsed.Context(), o)
	if err != nil {
		return nil, err
	}
	t := &tree{}
	root, content, err := r.root(ctx, t, parsed)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", ref, err)
	}
	t.fetch = func(ctx context.Context, d descriptor) (*blob, error) {
		if d.Digest == root.Digest {
			return inMemory(content), nil
		}
		return r.blob(ctx, d)
	}
	images, err := t.images(ctx, []descriptor{root}, o)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", ref, err)
	}
	var opened []*Image
	for _, m := range images {
		opened = append(opened, newImage("registry", ref, m.facts.Platform, func(ctx context.Context, rd Reader) (plimsoll.Image, error) {
			if err := readParts(ctx, rd, m.facts, m.parts(r.blob)); err != nil {
				return plimsoll.Image{}, fmt.Errorf("image %s: %w", ref, err)
			}
			return m.facts, nil
		}))
	}
	return opened, nil
}

func newRegistry(repo name.Repository, o Options) (*registry, error) {
	r := &registry{o: o}
	inner := newTransport(o)
	for _, host := range slices.Sorted(maps.Keys(o.Mirrors)) {
		mirror := o.Mirrors[host]
		if host == "docker.io" {
			host = name.DefaultRegistry
		}
		if host != repo.RegistryStr() {
			continue
		}
		e, err := newMirror(mirror, repo, o)
		if err != nil {
			return nil, fmt.Errorf("mirror of %s: %w", host, err)
		}
		r.places = append(r.places, e)
	}
	r.places = append(r.places, &endpoint{repo: repo, o: o, inner: inner})
	return r, nil
}

// newMirror is where a mirror keeps repo.
func newMirror(mirror string, repo name.Repository, o Options) (*endpoint, error) {
	scheme, rest, found := strings.Cut(mirror, "://")
	if !found {
		scheme, rest = "https", mirror
	}
	switch scheme {
	case "http":
		o.Insecure = true
	case "https":
	default:
		return nil, fmt.Errorf("%s: want http or https", quote(mirror))
	}
	host, prefix, _ := strings.Cut(strings.Trim(rest, "/"), "/")
	var nameOptions []name.Option
	if o.Insecure {
		nameOptions = append(nameOptions, name.Insecure)
	}
	reg, err := name.NewRegistry(host, nameOptions...)
	if err != nil {
		return nil, err
	}
	return &endpoint{repo: reg.Repo(prefix, repo.RepositoryStr()), o: o, inner: newTransport(o)}, nil
}

// each calls try for one place after the other until one has what is wanted.
func (r *registry) each(ctx context.Context, try func(*endpoint) error) error {
	var failed error
	for i, e := range r.places {
		err := try(e)
		if err == nil || ctx.Err() != nil {
			return err
		}
		if i < len(r.places)-1 {
			r.o.Progress(fmt.Sprintf("mirror %s: %v", e.repo.RegistryStr(), err))
			failed = fmt.Errorf("mirror %w", err)
			continue
		}
		if failed != nil {
			err = fmt.Errorf("%w; and before that, %w", err, failed)
		}
		return err
	}
	return nil
}

// root fetches what the reference names, and verifies it as far as the
// reference and the registry tell its digest.
func (r *registry) root(ctx context.Context, t *tree, ref name.Reference) (root descriptor, content []byte, err error) {
	err = r.each(ctx, func(e *endpoint) error {
		resp, err := e.get(ctx, "manifests/"+ref.Identifier(), 0)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if strings.HasPrefix(resp.Header.Get("Content-Type"), schema1Prefix) {
			return errSchema1()
		}
		content, err = t.limited(resp.Body)
		if err != nil {
			return fmt.Errorf("reading the manifest from %s: %w", e.repo.RegistryStr(), err)
		}
		wanted := plimsoll.Digest("")
		if _, ok := ref.(name.Digest); ok {
			wanted = plimsoll.Digest(ref.Identifier())
		} else if d, err := plimsoll.ParseDigest(resp.Header.Get("Docker-Content-Digest")); err == nil {
			wanted = d
		}
		root = descriptor{MediaType: ociManifest, Digest: digestLike(wanted, content), Size: int64(len(content))}
		if wanted != "" && root.Digest != wanted {
			return altered("the manifest that "+e.repo.RegistryStr()+" gave", wanted, root.Digest)
		}
		return nil
	})
	return root, content, err
}

// blob opens a blob, or a manifest by its digest. A connection that breaks
// later is taken up again.
func (r *registry) blob(ctx context.Context, d descriptor) (*blob, error) {
	open := func(ctx context.Context, offset int64) (body io.ReadCloser, start int64, err error) {
		err = r.each(ctx, func(e *endpoint) error {
			body, start, err = e.open(ctx, d, offset)
			return err
		})
		return body, start, err
	}
	body, _, err := open(ctx, 0)
	if err != nil {
		return nil, err
	}
	res := &resumed{
		ctx:      ctx,
		size:     d.Size,
		pause:    r.o.timing.pause,
		progress: r.o.Progress,
		open:     open,
		body:     body,
	}
	return &blob{ReadCloser: res, size: d.Size}, nil
}

// endpoint is a repository at one registry.
type endpoint struct {
	repo  name.Repository
	o     Options
	inner http.RoundTripper

	mu     sync.Mutex
	client *http.Client // once connected
	down   error        // or why that failed
	noKeys error        // why there are no credentials, if that is so
}

// connect learns how the registry wants to be spoken to, once.
func (e *endpoint) connect(ctx context.Context) (*http.Client, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.client != nil || e.down != nil {
		return e.client, e.down
	}
	auth, err := authn.Resolve(ctx, e.o.Keychain, e.repo)
	if err != nil {
		// The image may be public. If not, the reason is told then.
		e.noKeys, auth = err, authn.Anonymous
	}
	agent := transport.NewUserAgent(e.inner, "plimsoll")
	rt, err := transport.NewWithContext(ctx, e.repo.Registry, auth, agent, []string{e.repo.Scope(transport.PullScope)})
	if err != nil {
		err = e.explain(err)
		if ctx.Err() == nil {
			e.down = err
		}
		return nil, err
	}
	e.client = &http.Client{Transport: rt}
	return e.client, nil
}

// get asks for manifests/… or blobs/… of the repository, from an offset on.
// Answers other than 200 and 206 are errors.
func (e *endpoint) get(ctx context.Context, what string, offset int64) (*http.Response, error) {
	client, err := e.connect(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	u := url.URL{Scheme: e.repo.Scheme(), Host: e.repo.RegistryStr(), Path: "/v2/" + e.repo.RepositoryStr() + "/" + what}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		cancel(err)
		return nil, err
	}
	if strings.HasPrefix(what, "manifests/") {
		req.Header.Set("Accept", strings.Join([]string{ociIndex, dockerIndex, ociManifest, dockerManifest}, ", "))
	}
	if offset > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	resp, err := client.Do(req)
	if err != nil {
		cancel(err)
		return nil, e.explain(redacted(err))
	}
	resp.Body = watch(ctx, cancel, resp.Body, e.o.timing.stall)
	if resp.StatusCode != http.StatusOK && (resp.StatusCode != http.StatusPartialContent || offset == 0) {
		err := e.refused(resp)
		_ = resp.Body.Close()
		return nil, err
	}
	return resp, nil
}

// open starts to read what d names at offset, or at the beginning where the
// registry does not give a part.
func (e *endpoint) open(ctx context.Context, d descriptor, offset int64) (io.ReadCloser, int64, error) {
	what := "blobs/"
	if d.isManifest() {
		what = "manifests/"
	}
	resp, err := e.get(ctx, what+string(d.Digest), offset)
	var status *statusError
	if errors.As(err, &status) && status.code == http.StatusRequestedRangeNotSatisfiable && offset > 0 {
		offset = 0
		resp, err = e.get(ctx, what+string(d.Digest), 0)
	}
	if err != nil {
		return nil, 0, err
	}
	if resp.StatusCode == http.StatusPartialContent {
		if isRange(resp, offset, d.Size) {
			return resp.Body, offset, nil
		}
		_ = resp.Body.Close()
		if resp, err = e.get(ctx, what+string(d.Digest), 0); err != nil {
			return nil, 0, err
		}
	}
	if resp.ContentLength >= 0 && resp.ContentLength != d.Size {
		_ = resp.Body.Close()
		return nil, 0, fmt.Errorf("%s has %d bytes at %s, not %d: %w", d.Digest, resp.ContentLength, e.repo.RegistryStr(), d.Size, errSize)
	}
	return resp.Body, 0, nil
}

// isRange checks that a part is the part that was asked for (RFC 9110,
// section 14.4).
func isRange(resp *http.Response, offset, size int64) bool {
	var first, last, total int64
	if n, _ := fmt.Sscanf(resp.Header.Get("Content-Range"), "bytes %d-%d/%d", &first, &last, &total); n < 2 {
		return false
	} else if n == 3 && total != size {
		return false
	}
	return first == offset && last == size-1
}

// host as people and docker login write it.
func (e *endpoint) host() string {
	if e.repo.RegistryStr() == name.DefaultRegistry {
		return "docker.io"
	}
	return e.repo.RegistryStr()
}

// explain makes an error of the connection or of logging in one that says what
// to do.
func (e *endpoint) explain(err error) error {
	var answer *transport.Error
	if isCertificate(err) || !errors.As(err, &answer) {
		return explainNet(err)
	}
	where := e.host()
	if answer.Request != nil {
		where = place(answer.Request.URL)
	}
	var said []string
	for _, d := range answer.Errors {
		said = append(said, string(d.Code)+": "+d.Message)
	}
	return e.status(answer.StatusCode, where, said, 0)
}

// refused is the error for an answer that is not what was asked for.
func (e *endpoint) refused(resp *http.Response) error {
	var body struct {
		Errors []struct{ Code, Message string }
	}
	content, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	_ = json.Unmarshal(content, &body) // if it is none, the status says enough
	var said []string
	for _, e := range body.Errors {
		said = append(said, e.Code+": "+e.Message)
	}
	return e.status(resp.StatusCode, place(resp.Request.URL), said, retryAfter(resp))
}

func (e *endpoint) status(code int, where string, said []string, asked time.Duration) error {
	text := where + ": " + strconv.Itoa(code) + " " + http.StatusText(code)
	if len(said) > 0 {
		text += " (" + plain(strings.Join(said, "; ")) + ")"
	}
	if asked > 0 {
		text += ", asks to wait " + asked.String()
	}
	hint := ""
	login := "docker login " + e.host()
	switch {
	case code == http.StatusUnauthorized:
		hint = "check the name; if the image is not public, log in first: " + login
	case code == http.StatusForbidden:
		hint = "the account may not pull " + e.host() + "/" + e.repo.RepositoryStr() + ": ask for access to it, or log in with another: " + login
	case code == http.StatusNotFound:
		hint = "check the name and the tag or digest; some registries hide what is not public, so log in if it is there: " + login
	case code == http.StatusTooManyRequests:
		hint = "the registry limits how often it is asked: wait, or log in, which often raises the limit: " + login
	case code >= 500:
		hint = "the registry has a problem of its own: try again later"
	}
	if e.noKeys != nil && code < 500 {
		text += fmt.Sprintf("; there were no credentials, because: %v", e.noKeys)
	}
	err := error(&statusError{code, text})
	if hint != "" {
		err = plimsoll.WithHint(err, hint)
	}
	return err
}
