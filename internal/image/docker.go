package image

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/moby/moby/client"

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
