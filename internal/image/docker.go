package image

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/docker/go-connections/sockets"
	imagetypes "github.com/moby/moby/api/types/image"
	"github.com/moby/moby/client"
	"github.com/moby/moby/client/pkg/versions"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/plimsoll/plimsoll"
)

// openDocker finds an image in a running Docker Engine. The engine is the one
// that the docker command would use: DOCKER_HOST (with DOCKER_TLS_VERIFY and
// DOCKER_CERT_PATH), or the context named by DOCKER_CONTEXT or by the
// configuration file, or the socket of this machine.
func openDocker(ctx context.Context, ref string, o Options) (*Image, error) {
	daemons, err := dockerDaemons()
	if err != nil {
		return nil, fmt.Errorf("find the Docker engine: %w", err)
	}
	return openEngine(ctx, "docker", daemons, ref, o)
}

// openPodman finds an image in Podman, which serves the same API at
// CONTAINER_HOST, or else at the socket of this user or of the system.
func openPodman(ctx context.Context, ref string, o Options) (*Image, error) {
	return openEngine(ctx, "podman", podmanDaemons(), ref, o)
}

// daemon is an engine that may listen somewhere.
type daemon struct {
	url string      // unix:///run/docker.sock, tcp://HOST:PORT, ssh://[USER@]HOST[:PORT][/SOCKET], npipe:////./pipe/NAME
	tls *tls.Config // nil without TLS
}

// dockerDaemons are the places to look for a Docker Engine, one after the
// other. As in the docker command, DOCKER_HOST wins over any context.
func dockerDaemons() ([]daemon, error) {
	dir := os.Getenv("DOCKER_CONFIG")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err == nil {
			dir = filepath.Join(home, ".docker")
		}
	}
	if host := os.Getenv("DOCKER_HOST"); host != "" {
		if !strings.Contains(host, "://") {
			host = "tcp://" + host
		}
		verify := os.Getenv("DOCKER_TLS_VERIFY") != ""
		certs := os.Getenv("DOCKER_CERT_PATH")
		if certs == "" {
			if !verify {
				return []daemon{{url: host}}, nil
			}
			certs = dir
		}
		config, err := clientTLS(certs, verify)
		if err != nil {
			return nil, fmt.Errorf("certificates for DOCKER_HOST: %w", err)
		}
		return []daemon{{host, config}}, nil
	}
	name, err := currentContext(dir)
	if err != nil {
		return nil, err
	}
	if name != "" && name != "default" {
		e, err := contextDaemon(dir, name)
		if err != nil {
			return nil, plimsoll.WithHint(fmt.Errorf("docker context %q: %w", name, err),
				"`docker context ls` lists the contexts; DOCKER_CONTEXT=default is the engine of this machine")
		}
		return []daemon{e}, nil
	}
	daemons := []daemon{{url: client.DefaultDockerHost}}
	if run := os.Getenv("XDG_RUNTIME_DIR"); run != "" && runtime.GOOS != "windows" {
		daemons = append(daemons, daemon{url: "unix://" + filepath.Join(run, "docker.sock")}) // rootless
	}
	return daemons, nil
}

func podmanDaemons() []daemon {
	if host := os.Getenv("CONTAINER_HOST"); host != "" {
		return []daemon{{url: host}}
	}
	var daemons []daemon
	if run := os.Getenv("XDG_RUNTIME_DIR"); run != "" {
		daemons = append(daemons, daemon{url: "unix://" + filepath.Join(run, "podman/podman.sock")})
	}
	return append(daemons, daemon{url: "unix:///run/podman/podman.sock"})
}

// currentContext is the name of the docker context in use, or "".
func currentContext(dir string) (string, error) {
	if name := os.Getenv("DOCKER_CONTEXT"); name != "" {
		return name, nil
	}
	var config struct {
		CurrentContext string `json:"currentContext"`
	}
	err := readJSON(filepath.Join(dir, "config.json"), &config)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return config.CurrentContext, err
}

// contextDaemon reads a context as the docker command stores it:
// contexts/meta/HASH/meta.json and contexts/tls/HASH/docker/*.pem, where HASH
// is the sha256 of its name.
func contextDaemon(dir, name string) (daemon, error) {
	sum := sha256.Sum256([]byte(name))
	hash := hex.EncodeToString(sum[:])
	var meta struct {
		Endpoints map[string]struct {
			Host          string
			SkipTLSVerify bool
		}
	}
	if err := readJSON(filepath.Join(dir, "contexts", "meta", hash, "meta.json"), &meta); err != nil {
		return daemon{}, err
	}
	docker := meta.Endpoints["docker"]
	if docker.Host == "" {
		return daemon{}, errors.New("names no Docker host")
	}
	certs := filepath.Join(dir, "contexts", "tls", hash, "docker")
	if _, err := os.Stat(certs); errors.Is(err, fs.ErrNotExist) && !docker.SkipTLSVerify {
		return daemon{url: docker.Host}, nil
	}
	config, err := clientTLS(certs, !docker.SkipTLSVerify)
	if err != nil {
		return daemon{}, err
	}
	return daemon{docker.Host, config}, nil
}

// clientTLS takes ca.pem, cert.pem and key.pem of a directory, whichever are
// there.
func clientTLS(dir string, verify bool) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: !verify}
	ca, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	switch {
	case err == nil:
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(ca) {
			return nil, fmt.Errorf("%s: holds no certificate", filepath.Join(dir, "ca.pem"))
		}
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
	switch {
	case err == nil:
		config.Certificates = []tls.Certificate{cert}
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("client certificate in %s: %w", dir, err)
	}
	return config, nil
}

func readJSON(path string, into any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

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

// dialSSH reaches an engine through ssh, with the relay that both docker and
// podman have for it: `docker system dial-stdio`.
func dialSSH(ctx context.Context, source string, u *url.URL) (net.Conn, error) {
	host, user, port := u.Hostname(), u.User.Username(), u.Port()
	if host == "" || strings.HasPrefix(host, "-") || strings.HasPrefix(user, "-") {
		return nil, fmt.Errorf("%s: want ssh://[USER@]HOST[:PORT]", quote(u.Redacted()))
	}
	args := []string{"-T", "-o", "ConnectTimeout=30"}
	if user != "" {
		args = append(args, "-l", user)
	}
	if port != "" {
		args = append(args, "-p", port)
	}
	args = append(args, "--", host, source)
	if u.Path != "" && u.Path != "/" {
		flag := map[string]string{"docker": "--host", "podman": "--url"}[source]
		// The remote shell reads this once more.
		args = append(args, flag, "'unix://"+strings.ReplaceAll(u.Path, "'", `'\''`)+"'")
	}
	// The connection outlives the request that it is opened for.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), "ssh", append(args, "system", "dial-stdio")...)
	conn := &sshConn{cmd: cmd}
	var err error
	if conn.WriteCloser, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if conn.Reader, err = cmd.StdoutPipe(); err != nil {
		return nil, err
	}
	cmd.Stderr = &conn.said
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	conn.wait = sync.OnceValue(cmd.Wait)
	return conn, nil
}

// sshConn is a connection through the two pipes of a running command.
type sshConn struct {
	io.Reader
	io.WriteCloser
	cmd  *exec.Cmd
	said lastWords
	wait func() error
}

// Read gives the reason, which only the command knows, when it ended.
func (c *sshConn) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if errors.Is(err, io.EOF) {
		if failed := c.wait(); failed != nil {
			err = fmt.Errorf("ssh: %w: %s", failed, strings.TrimSpace(string(c.said)))
		}
	}
	return n, err
}

func (c *sshConn) Close() error {
	_ = c.WriteCloser.Close()
	_ = c.cmd.Process.Kill() // it may have ended
	_ = c.wait()
	return nil
}

func (c *sshConn) LocalAddr() net.Addr              { return &net.UnixAddr{Net: "unix", Name: "ssh"} }
func (c *sshConn) RemoteAddr() net.Addr             { return &net.UnixAddr{Net: "unix", Name: "ssh"} }
func (c *sshConn) SetDeadline(time.Time) error      { return nil }
func (c *sshConn) SetReadDeadline(time.Time) error  { return nil }
func (c *sshConn) SetWriteDeadline(time.Time) error { return nil }

// lastWords keeps the last kilobyte of what is written to it.
type lastWords []byte

func (w *lastWords) Write(p []byte) (int, error) {
	*w = append(*w, p...)
	*w = (*w)[max(0, len(*w)-1024):]
	return len(p), nil
}

// engine is a running engine that speaks Docker's API
// (docs.docker.com/reference/api/engine), and one image in it.
type engine struct {
	source string // docker or podman
	api    *client.Client
	o      Options
	// id names the image in all questions but the first, so that it does not
	// matter when a tag moves in between.
	id string
	// image as the engine describes it.
	image client.ImageInspectResult
	// classic engines name an image by the digest of its configuration and
	// describe all of that. The others, with containerd's image store, name
	// it by the digest of its manifest or index.
	classic bool
}

// openEngine finds the image in the first engine that has it.
func openEngine(ctx context.Context, source string, daemons []daemon, ref string, o Options) (*Image, error) {
	if _, err := reference.ParseAnyReference(ref); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", errNotHere, quote(ref), err)
	}
	var absent, failed error
	for _, at := range daemons {
		e := &engine{source: source, o: o}
		err := e.open(ctx, at, ref)
		switch {
		case err == nil:
			return newImage(source, ref, e.platform(), e.read), nil
		case !errors.Is(err, errNotHere):
			if failed == nil {
				failed = fmt.Errorf("%s at %s: %w", source, at.url, err)
			}
		case absent == nil:
			absent = err
		default:
			absent = fmt.Errorf("%w; %w", absent, err)
		}
	}
	if failed != nil {
		return nil, failed
	}
	return nil, absent
}

// open connects to the engine and asks about the image.
func (e *engine) open(ctx context.Context, at daemon, ref string) (err error) {
	if e.api, err = at.connect(ctx, e.source); err != nil {
		return err
	}
	if err := e.inspect(ctx, ref); err != nil {
		return err
	}
	e.id, e.classic = e.image.ID, e.isClassic()
	if e.o.Platform == "" {
		return nil
	}
	want, err := parsePlatform(e.o.Platform)
	switch {
	case err != nil:
		return err
	case e.classic && fit(want, e.platform()) == 0:
		return fmt.Errorf("%w: %s has %s for %s, not for %s", errNotHere, e.source, quote(ref), e.platform(), want)
	case !e.classic && e.speaks("1.49"):
		return e.inspect(ctx, e.id, client.ImageInspectWithPlatform(ociPlatform(want)))
	}
	return nil
}

// inspect asks about an image and checks what it is going to be used for.
func (e *engine) inspect(ctx context.Context, ref string, options ...client.ImageInspectOption) error {
	ctx, cancel := e.patience(ctx)
	defer cancel()
	image, err := e.api.ImageInspect(ctx, ref, options...)
	switch {
	case err == nil:
	case cerrdefs.IsNotFound(err):
		return fmt.Errorf("%w: %w", errNotHere, err)
	default:
		var request *url.Error
		if errors.As(err, &request) {
			err = request.Err // without the URL, which tells nothing
		}
		return fmt.Errorf("asking about %s: %w", quote(ref), err)
	}
	if _, err := plimsoll.ParseDigest(image.ID); err != nil {
		return fmt.Errorf("asking about %s: the answer is not about an image: its id: %w", quote(ref), err)
	}
	e.image = image
	return nil
}

// patience bounds a question: an engine that hangs is not waited for.
func (e *engine) patience(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, e.o.timing.header,
		fmt.Errorf("%s gave no answer for %s", e.source, e.o.timing.header))
}

func (e *engine) speaks(version string) bool {
	return versions.GreaterThanOrEqualTo(e.api.ClientVersion(), version)
}

// isClassic tells the kinds of engine apart. From API 1.48 on (Docker 28) only
// the newer kind has a descriptor. Docker 23 to 27 have the newer kind too,
// and show it by no more than the name of the storage driver.
func (e *engine) isClassic() bool {
	switch {
	case e.image.Descriptor != nil:
		return false
	case e.source == "podman", e.speaks("1.48"), !e.speaks("1.42"):
		return true
	}
	return e.image.GraphDriver != nil && e.image.GraphDriver.Name == "overlay2"
}

// platform of the image that was asked about.
func (e *engine) platform() plimsoll.Platform {
	return plimsoll.Platform{OS: e.image.Os, Architecture: e.image.Architecture, Variant: e.image.Variant}
}

func ociPlatform(p plimsoll.Platform) *ocispec.Platform {
	return &ocispec.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant}
}

// errDoubt is an image that cannot be described without reading its layers.
var errDoubt = errors.New("some layer must be read")

// read has the engine save the image, unless all is known without.
func (e *engine) read(ctx context.Context, r Reader) (plimsoll.Image, error) {
	img, err := e.describe(ctx, r)
	if errors.Is(err, errDoubt) {
		img, err = e.save(ctx, func(ctx context.Context, stream io.Reader, o Options) (plimsoll.Image, error) {
			return readArchiveStream(ctx, stream, "", o, r)
		})
	}
	if err != nil {
		return plimsoll.Image{}, fmt.Errorf("reading %s from %s: %w", plimsoll.Digest(e.id).Short(), e.source, err)
	}
	img.Tags = e.image.RepoTags
	if e.classic {
		// The engine makes these up for a save stream, and only for that. What
		// it says of the platform is more than the configuration may say.
		img.Digest, img.Platform = "", e.platform()
		for i := range img.Layers {
			img.Layers[i].Digest, img.Layers[i].Size, img.Layers[i].MediaType = "", 0, ""
		}
	}
	return img, nil
}

// describe gives the facts about an image whose layers' reports are all known,
// the same as a save stream would, and reads no layer for it.
func (e *engine) describe(ctx context.Context, r Reader) (plimsoll.Image, error) {
	var diffIDs []plimsoll.Digest
	for _, layer := range e.image.RootFS.Layers {
		diffID, err := plimsoll.ParseDigest(layer)
		if err != nil || !r.Have(diffID) {
			return plimsoll.Image{}, errDoubt
		}
		diffIDs = append(diffIDs, diffID)
	}
	if img, ok := e.ask(ctx, diffIDs); ok {
		return img, nil
	}
	img, err := e.save(ctx, passOver)
	if err != nil {
		return plimsoll.Image{}, err
	}
	for _, l := range img.Layers {
		if !r.Have(l.DiffID) {
			return plimsoll.Image{}, errDoubt
		}
	}
	return img, nil
}

// ask puts the facts together from what the API says; false where it leaves a
// doubt about what the image's configuration says, which a save stream has.
//
// Looked at in Docker 20.10.24 and 29 (both classic) and Podman 4.3.1: id,
// creation time to the nanosecond, labels and diff IDs are the
// configuration's. The history has every entry, with its created_by and
// comment, but without its empty_layer: see emptySteps. With containerd's
// image store (Docker 29) nothing tells the configuration's digest.
func (e *engine) ask(ctx context.Context, diffIDs []plimsoll.Digest) (plimsoll.Image, bool) {
	if !e.classic {
		return plimsoll.Image{}, false
	}
	ctx, cancel := e.patience(ctx)
	defer cancel()
	history, err := e.api.ImageHistory(ctx, e.id)
	if err != nil {
		return plimsoll.Image{}, false
	}
	slices.Reverse(history.Items) // the API begins with the newest
	empty, ok := emptySteps(history.Items, len(diffIDs))
	if !ok {
		return plimsoll.Image{}, false
	}
	var c config
	c.OS, c.Architecture, c.Variant, c.Created = e.image.Os, e.image.Architecture, e.image.Variant, e.image.Created
	if e.image.Config != nil {
		c.Config.Labels = e.image.Config.Labels
	}
	c.RootFS.DiffIDs = diffIDs
	c.History = slices.Grow(c.History, len(empty))[:len(empty)]
	for i, h := range history.Items {
		step := &c.History[i]
		step.CreatedBy, step.Comment, step.EmptyLayer = h.CreatedBy, h.Comment, empty[i]
	}
	img := c.facts()
	img.ID = plimsoll.Digest(e.id)
	return img, true
}

// emptySteps finds out which steps of a history made no layer, oldest first;
// false where that cannot be told.
//
// The API gives a size for each. A step with a size made a layer. One without
// need not be empty: Docker counts the bytes of the regular files, so a layer
// that only deletes, or only makes directories, has the size 0 too (Podman
// counts the tar stream's). Of those, some can have made no layer, because
// the Dockerfile's instruction only changes the configuration. When what
// remains is as much as is missing, or nothing is missing, all is clear.
func emptySteps(history []imagetypes.HistoryResponseItem, layers int) ([]bool, bool) {
	empty := make([]bool, len(history))
	var open []int
	for i, h := range history {
		switch {
		case h.Size > 0:
			layers--
		case onlyConfigures(h.CreatedBy):
			empty[i] = true
		default:
			open = append(open, i)
		}
	}
	if layers == 0 {
		for _, i := range open {
			empty[i] = true
		}
	}
	return empty, layers == 0 || layers == len(open)
}

// onlyConfigures tells the steps of a Dockerfile that cannot make a layer, as
// BuildKit (looked at in 0.23) and the builder before it write them into the
// history. WORKDIR is none of them: it makes the directory.
func onlyConfigures(createdBy string) bool {
	if _, step, classic := strings.Cut(createdBy, " #(nop) "); classic {
		createdBy = strings.TrimSpace(step) // "/bin/sh -c #(nop)  ENV A=B"
	}
	instruction, _, _ := strings.Cut(createdBy, " ")
	switch instruction {
	case "ARG", "CMD", "ENTRYPOINT", "ENV", "EXPOSE", "HEALTHCHECK", "LABEL", "MAINTAINER", "ONBUILD", "SHELL", "STOPSIGNAL", "USER", "VOLUME":
		return true
	}
	return false
}

// save lets take read the image as the engine writes it for `docker save`.
func (e *engine) save(ctx context.Context, take func(context.Context, io.Reader, Options) (plimsoll.Image, error)) (plimsoll.Image, error) {
	o := e.o
	o.AllPlatforms = false
	var options []client.ImageSaveOption
	if e.classic {
		o.Platform = "" // there is one only, which open compared
	} else if o.Platform = cmp.Or(o.Platform, e.platform().String()); o.Platform != "" && e.speaks("1.48") {
		want, err := parsePlatform(o.Platform)
		if err != nil {
			return plimsoll.Image{}, err
		}
		options = append(options, client.ImageSaveWithPlatforms(*ociPlatform(want)))
	}
	// Before the first byte, Docker 20.10 writes the whole image to a temporary
	// directory.
	const slowStart = 10
	stall := e.o.timing.stall
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(slowStart*stall, func() { cancel(errStalled) })
	defer timer.Stop()
	saved, err := e.api.ImageSave(ctx, []string{e.id}, options...)
	if err != nil {
		return plimsoll.Image{}, cmp.Or(context.Cause(ctx), err)
	}
	stream := watch(ctx, cancel, saved, slowStart*stall)
	defer stream.Close()
	first := make([]byte, 1)
	if _, err := io.ReadFull(stream, first); err != nil {
		return plimsoll.Image{}, fmt.Errorf("the engine sent nothing: %w", err)
	}
	timer.Stop()
	stream.stall = stall
	img, err := take(ctx, io.MultiReader(bytes.NewReader(first), stream), o)
	if err != nil {
		return plimsoll.Image{}, cmp.Or(context.Cause(ctx), err)
	}
	if e.classic && img.ID != plimsoll.Digest(e.id) {
		return plimsoll.Image{}, fmt.Errorf("the engine sent another image: %s", img.ID)
	}
	return img, nil
}

// passOver reads what describes an image in a save stream, and no layer.
func passOver(ctx context.Context, r io.Reader, o Options) (plimsoll.Image, error) {
	unread := Reader{
		Have:  func(plimsoll.Digest) bool { return true },
		Layer: func(context.Context, *Layer) (plimsoll.Digest, error) { return "", nil },
	}
	s := &stream{rd: unread, members: map[string]*streamed{}}
	s.saved = saved{links: map[string]string{}, has: s.has, small: s.small}
	archive := tar.NewReader(r)
	for n := int64(0); ; n++ {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil && n >= o.Limits.Entries {
			err = fmt.Errorf("more than %d entries, the limit that --max-entries sets", o.Limits.Entries)
		}
		if err == nil {
			err = s.entry(ctx, h, archive)
		}
		if err != nil {
			return plimsoll.Image{}, fmt.Errorf("reading the save stream: %w", truncated(err))
		}
	}
	images, err := s.images(ctx, "", o)
	if err != nil {
		return plimsoll.Image{}, err
	}
	return images[0].facts, nil // one: o does not want all platforms
}
