package cache

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/plimsoll/plimsoll"
	"github.com/plimsoll/plimsoll/internal/testenv"
)

func open(t testing.TB, dir string, maxBytes int64) *Cache {
	t.Helper()
	c, err := Open(dir, maxBytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func put(t testing.TB, c *Cache, key string, value []byte) {
	t.Helper()
	if err := c.Put(key, value); err != nil {
		t.Fatalf("put %.40q: %v", key, err)
	}
}

// noise is a value that does not compress, always the same for a key.
func noise(key string, size int) []byte {
	var seed [32]byte
	copy(seed[:], key)
	value := make([]byte, size)
	_, _ = rand.NewChaCha8(seed).Read(value)
	return value
}

// files are the entries and temporary files below dir.
func files(t testing.TB, dir string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && d.Name() != "CACHEDIR.TAG" {
			names = append(names, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestPutGet(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	c := open(t, dir, 100<<20)
	values := map[string][]byte{
		"":                           []byte("the empty key"),
		"empty value":                {},
		"report sha256:0":            bytes.Repeat([]byte("{\"name\":\"x\"}"), 10_000),
		"../../etc/passwd\x00\n":     []byte("a name is no path"),
		strings.Repeat("long", 1000): noise("n", 1<<20),
		"large":                      make([]byte, MaxValue),
	}
	for key, value := range values {
		if _, ok := c.Get(key); ok {
			t.Errorf("%.20q is there before it was put", key)
		}
		put(t, c, key, value)
	}
	for _, c := range []*Cache{c, open(t, dir, 100<<20)} { // another process, later
		for key, value := range values {
			got, ok := c.Get(key)
			if !ok || !bytes.Equal(got, value) {
				t.Errorf("%.20q: %d bytes, %v; want %d bytes", key, len(got), ok, len(value))
			}
		}
	}
	put(t, c, "", []byte("another value"))
	if got, _ := c.Get(""); string(got) != "another value" {
		t.Errorf("after the second put: %q", got)
	}
	if err := c.Put("too large", make([]byte, MaxValue+1)); err == nil {
		t.Error("a value over the limit was taken")
	}

	// Nobody else may read what images hold.
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		want := fs.FileMode(0o600)
		if d.IsDir() {
			want = 0o700
		}
		if err == nil && info.Mode().Perm() != want {
			t.Errorf("%s has mode %v, want %v", path, info.Mode().Perm(), want)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Whichever byte of a file is wrong or missing, the entry is a miss, and gone.
func TestDamageIsAMiss(t *testing.T) {
	dir := t.TempDir()
	c := open(t, dir, 1<<20)
	put(t, c, "key", []byte("a value worth keeping, worth keeping, worth keeping"))
	path := c.path("key")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, content []byte) {
		t.Helper()
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if value, ok := c.Get("key"); ok {
			t.Fatalf("%s: got %q", what, value)
		}
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("%s: the file is still there (%v)", what, err)
		}
	}
	for i := range whole {
		for _, flip := range []byte{0x01, 0x80, 0xff} {
			damaged := slices.Clone(whole)
			damaged[i] ^= flip
			check(fmt.Sprintf("byte %d ^ %#x", i, flip), damaged)
		}
		check(fmt.Sprintf("cut at %d", i), whole[:i])
	}
	check("a byte more", append(slices.Clone(whole), 0))
	check("text", []byte("not a cache file at all"))
	check("nothing but noughts", make([]byte, len(whole)))
	older := seal(append([]byte("plimcac\x00"), whole[len(magic):]...))
	check("older version", older)

	put(t, c, "other", []byte("other value"))
	foreign, err := os.ReadFile(c.path("other"))
	if err != nil {
		t.Fatal(err)
	}
	check("entry of another key", foreign)

	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, ok := c.Get("key"); !ok {
		t.Error("the whole file is a miss: this test tests nothing")
	}
	// Things that are no files do no harm either.
	_ = os.Remove(path)
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, ok := c.Get("key"); ok {
		t.Error("a pipe is a hit")
	}
}

// A file made to expand without end costs no more than it claims to hold.
func TestBombIsAMiss(t *testing.T) {
	c := open(t, t.TempDir(), 1<<20)
	bomb, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	payload := bomb.EncodeAll(make([]byte, MaxValue+1<<20), nil)
	small, err := c.codec.encode("key", []byte("0123456789"))
	if err != nil {
		t.Fatal(err)
	}
	file := seal(append(slices.Clone(small[:keyAt+len("key")]), payload...))
	before := alloc()
	if value, err := c.codec.decode("key", file); err == nil {
		t.Errorf("got %d bytes", len(value))
	}
	if used := alloc() - before; used > 16<<20 {
		t.Errorf("%d bytes were allocated for a file of %d", used, len(file))
	}
	// The same with a claim that is over the limit.
	copy(file[lengthsAt+4:], "\xff\xff\xff\xff")
	if value, err := c.codec.decode("key", seal(file)); err == nil {
		t.Errorf("got %d bytes", len(value))
	}
}

// The entries that were not used for the longest time go first, down to a
// part of the bound; reading counts as use.
func TestEviction(t *testing.T) {
	const size, most = 10_000, 40 * 12288 // an entry of this size takes three blocks
	c := open(t, t.TempDir(), most)
	long := time.Now().Add(-24 * time.Hour)
	for i := range 40 {
		key := strconv.Itoa(i)
		put(t, c, key, noise(key, size))
		used := long.Add(time.Duration(i) * time.Minute)
		if err := os.Chtimes(c.path(key), used, used); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range []string{"0", "1"} {
		if _, ok := c.Get(key); !ok {
			t.Fatalf("%s is gone before the cache was full", key)
		}
	}
	put(t, c, "straw", noise("straw", size))
	if got, err := c.Size(); err != nil || got > most-most/evictPart || got < most-most/evictPart-12288 {
		t.Errorf("after the eviction: %d bytes, %v; want just below %d", got, err, most-most/evictPart)
	}
	for i := range 40 {
		_, ok := c.Get(strconv.Itoa(i))
		if want := i < 2 || i >= 11; ok != want {
			t.Errorf("entry %d, %v: want %v", i, ok, want)
		}
	}
	if _, ok := c.Get("straw"); !ok {
		t.Error("the newest entry is gone")
	}
	if err := c.Put("mountain", noise("mountain", most)); err == nil {
		t.Error("an entry larger than the cache was taken")
	}
}

// A read writes the time of use once an hour, not every time.
func TestTouch(t *testing.T) {
	c := open(t, t.TempDir(), 1<<20)
	put(t, c, "key", []byte("x"))
	for _, tt := range []struct {
		age     time.Duration
		touched bool
	}{{2 * time.Hour, true}, {10 * time.Minute, false}} {
		used := time.Now().Add(-tt.age)
		if err := os.Chtimes(c.path("key"), used, used); err != nil {
			t.Fatal(err)
		}
		c.Get("key")
		info, err := os.Stat(c.path("key"))
		if err != nil {
			t.Fatal(err)
		}
		if touched := time.Since(info.ModTime()) < time.Minute; touched != tt.touched {
			t.Errorf("used %v ago: touched %v, want %v", tt.age, touched, tt.touched)
		}
	}
}

// What a writer left that was killed is cleaned up; what is not ours is not
// touched, whatever directory the user named.
func TestForeignAndStaleFiles(t *testing.T) {
	dir := t.TempDir()
	c := open(t, dir, 20*4096)
	put(t, c, "key", []byte("x"))
	sub := filepath.Dir(c.path("key"))
	stale, young := filepath.Join(sub, tempPrefix+"1"), filepath.Join(sub, tempPrefix+"2")
	thesis, note := filepath.Join(dir, "thesis.tex"), filepath.Join(sub, "note")
	for _, name := range []string{stale, young, thesis, note} {
		if err := os.WriteFile(name, bytes.Repeat([]byte("x"), 3000), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	yesterday := time.Now().Add(-24 * time.Hour)
	for _, name := range []string{stale, thesis, note} {
		if err := os.Chtimes(name, yesterday, yesterday); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 100 { // beyond the bound, several times
		put(t, c, strconv.Itoa(i), noise("n", 3000))
	}
	left := files(t, dir)
	for name, want := range map[string]bool{stale: false, young: true, thesis: true, note: true} {
		if got := slices.Contains(left, name); got != want {
			t.Errorf("%s is there: %v, want %v", filepath.Base(name), got, want)
		}
	}
	if err := c.Clear(); err != nil {
		t.Error(err)
	}
	if left = files(t, dir); len(left) != 2 || !slices.Contains(left, thesis) || !slices.Contains(left, note) {
		t.Errorf("after Clear: %q", left)
	}
	if size, err := c.Size(); size != 0 || err != nil {
		t.Errorf("after Clear: size %d, %v", size, err)
	}
	put(t, c, "key", []byte("again"))
	if _, ok := c.Get("key"); !ok {
		t.Error("after Clear: a put is not there")
	}
}

// A cache that cannot be used says so, with a way out.
func TestUnusable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(file, "below"), "/proc/plimsoll"} {
		c, err := Open(dir, 1<<20)
		if err == nil || c != nil {
			t.Errorf("%s: no error", dir)
		} else if plimsoll.HintOf(err) == "" || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: error %q, hint %q", dir, err, plimsoll.HintOf(err))
		}
	}
	if _, err := Open(t.TempDir(), 0); err == nil {
		t.Error("a cache without room was opened")
	}

	c := open(t, t.TempDir(), 1<<20)
	sub := filepath.Dir(c.path("key"))
	if err := os.WriteFile(sub, nil, 0o600); err != nil { // where a directory must be
		t.Fatal(err)
	}
	if err := c.Put("key", []byte("x")); err == nil {
		t.Error("Put says nothing of an entry that it could not write")
	}
	if _, ok := c.Get("key"); ok {
		t.Error("a hit")
	}
}

// A full disk is an error of Put, and leaves nothing half-written.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=256k,mode=700"); err != nil {
		testenv.Skip(t, "cannot mount a small file system: "+err.Error())
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	c := open(t, dir, 100<<20)
	put(t, c, "small", []byte("fits"))
	err := c.Put("large", noise("large", 1<<20))
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("error %v, want %v", err, syscall.ENOSPC)
	}
	if left := files(t, dir); len(left) != 1 {
		t.Errorf("left: %q", left)
	}
	if _, ok := c.Get("small"); !ok {
		t.Error("what was there before is gone")
	}
}

func TestGoroutines(t *testing.T) {
	c := open(t, t.TempDir(), 200_000)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() { hammer(t, c, uint64(g), 100) })
	}
	wg.Wait()
	checkBound(t, c)
}

// Several processes, each with a small cache that is full all the time.
func TestProcesses(t *testing.T) {
	const processes, most = 6, 400_000
	if dir := os.Getenv("PLIMSOLL_TEST_CACHE"); dir != "" {
		seed, err := strconv.ParseUint(os.Getenv("PLIMSOLL_TEST_SEED"), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		hammer(t, open(t, dir, most), seed, 400)
		return
	}
	dir := t.TempDir()
	watcher := open(t, dir, most)
	var running []*exec.Cmd
	outputs := make([]bytes.Buffer, processes)
	for i := range processes {
		cmd := exec.Command(os.Args[0], "-test.run=^TestProcesses$", "-test.v")
		cmd.Env = append(os.Environ(), "PLIMSOLL_TEST_CACHE="+dir, fmt.Sprintf("PLIMSOLL_TEST_SEED=%d", i))
		cmd.Stdout, cmd.Stderr = &outputs[i], &outputs[i]
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		running = append(running, cmd)
	}
	done := make(chan struct{})
	var largest int64
	var watching sync.WaitGroup
	watching.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(5 * time.Millisecond):
				if size, err := watcher.Size(); err != nil {
					t.Errorf("size: %v", err)
				} else {
					largest = max(largest, size)
				}
			}
		}
	})
	for i, cmd := range running {
		if err := cmd.Wait(); err != nil {
			t.Errorf("process %d: %v\n%s", i, err, &outputs[i])
		}
	}
	close(done)
	watching.Wait()
	// Each process may have written a twentieth, and one entry, since it
	// counted last.
	if bound := int64(most + processes*(most/recountPart+2*maxHammered)); largest > bound {
		t.Errorf("the cache had %d bytes at one time; %d are allowed", largest, bound)
	}
	t.Logf("at most %d bytes of %d", largest, most)
	checkBound(t, watcher)
}

const maxHammered = 20_000

// hammer gets and puts values of few keys, in an order that seed decides, and
// checks that every hit is the right value.
func hammer(t testing.TB, c *Cache, seed uint64, times int) {
	r := rand.New(rand.NewPCG(seed, 1))
	hits := 0
	for i := range times {
		key := fmt.Sprintf("key %d", r.IntN(100))
		want := noise(key, len(key)*1000+len(key))
		if value, ok := c.Get(key); ok {
			hits++
			if !bytes.Equal(value, want) {
				t.Errorf("%s: a wrong value of %d bytes", key, len(value))
			}
		} else if err := c.Put(key, want); err != nil {
			t.Errorf("%s: %v", key, err)
		}
		if seed == 0 && i%50 == 49 {
			if err := c.Clear(); err != nil {
				t.Errorf("clear: %v", err)
			}
		}
	}
	if hits == 0 {
		t.Error("not one hit")
	}
}

// checkBound puts one more entry: the cache is then within its bound, and has
// no temporary files left but those of writers that are gone.
func checkBound(t *testing.T, c *Cache) {
	t.Helper()
	fresh := open(t, c.dir, c.max)
	put(t, fresh, "last", noise("last", 1000))
	if size, err := fresh.Size(); err != nil || size > c.max {
		t.Errorf("%d bytes, %v; the bound is %d", size, err, c.max)
	}
	for _, name := range files(t, c.dir) {
		if strings.HasPrefix(filepath.Base(name), tempPrefix) {
			t.Errorf("%s was left behind", name)
		}
	}
}

func alloc() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

func BenchmarkGet(b *testing.B) {
	c := open(b, b.TempDir(), 100<<20)
	value := bytes.Repeat([]byte(`{"name":"libfoo","version":"1.2.3-4","paths":["var/lib/dpkg/status"]},`), 15_000)
	put(b, c, "key", value)
	b.SetBytes(int64(len(value)))
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := c.Get("key"); !ok {
			b.Fatal("miss")
		}
	}
}

func BenchmarkPut(b *testing.B) {
	c := open(b, b.TempDir(), 100<<20)
	value := bytes.Repeat([]byte(`{"name":"libfoo","version":"1.2.3-4","paths":["var/lib/dpkg/status"]},`), 15_000)
	b.SetBytes(int64(len(value)))
	b.ReportAllocs()
	for b.Loop() {
		put(b, c, "key", value)
	}
}

// Whatever a file holds, with a right checksum too, nothing but a small value
// or an error comes of it.
func FuzzDecode(f *testing.F) {
	c, err := newCodec()
	if err != nil {
		f.Fatal(err)
	}
	for _, value := range []string{"", "x", strings.Repeat("abc", 1000)} {
		file, err := c.encode("key", []byte(value))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(file)
	}
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, file []byte) {
		for range 2 {
			value, err := c.decode("key", file)
			if err == nil {
				again, err := c.encode("key", value)
				if err != nil {
					t.Fatal(err)
				}
				if got, err := c.decode("key", again); err != nil || !bytes.Equal(got, value) {
					t.Errorf("%d bytes became %d, %v", len(value), len(got), err)
				}
			}
			if len(file) < keyAt {
				return
			}
			file = seal(append([]byte(magic), file[len(magic):]...))
		}
	})
}
