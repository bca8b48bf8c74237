package tilecpu

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrNotPermitted says that this process may not trace others, as in some containers.
var ErrNotPermitted = errors.New("tilecpu: tracing is not permitted here")

// ExitError is a program's exit code other than 0, or the signal that ended it.
type ExitError struct{ Status unix.WaitStatus }

func (e *ExitError) Error() string {
	if e.Status.Signaled() {
		return fmt.Sprintf("tilecpu: the program ended by signal %v", e.Status.Signal())
	}
	return fmt.Sprintf("tilecpu: the program ended with code %d", e.Status.ExitStatus())
}

// Counts are how often each instruction was carried out, by its name.
type Counts map[string]int

// tracer follows all threads of one process. Not safe for concurrent use: Linux wants all calls from one thread.
type tracer struct {
	pid     int
	program *program
	threads map[int]*tiles
	known   map[uint64]*instruction // by address; nil for what is none of ours
	counts  [len(operationNames)]int
	allowed bool // the program has asked Linux for tiles
	status  unix.WaitStatus
	over    bool
}

// Run runs a program with tiles and waits for its end. Its error is an *ExitError if only the program failed, and ErrNotPermitted
// if nothing was run.
func Run(c *exec.Cmd) (Counts, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	p, err := open(c.Path)
	if err != nil {
		return nil, err
	}
	c.SysProcAttr = &unix.SysProcAttr{Ptrace: true}
	if err := c.Start(); errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) {
		return nil, ErrNotPermitted
	} else if err != nil {
		return nil, fmt.Errorf("tilecpu: %w", err)
	}
	t := &tracer{pid: c.Process.Pid, program: p, threads: map[int]*tiles{}, known: map[uint64]*instruction{}}
	err = t.follow()
	c.Wait() // for the copying of output; the process's end was told to the tracer
	if err != nil {
		return nil, err
	}
	counts := Counts{}
	for o, n := range t.counts {
		counts[operation(o).String()] = n
	}
	if !t.status.Exited() || t.status.ExitStatus() != 0 {
		return counts, &ExitError{t.status}
	}
	return counts, nil
}

// follow answers every stop of the process until it is over. A failure ends the process.
func (t *tracer) follow() error {
	err := t.begin()
	if err != nil {
		unix.Kill(t.pid, unix.SIGKILL)
	}
	for !t.over {
		var ws unix.WaitStatus
		// only what this thread traces: the process may have other children
		tid, e := unix.Wait4(-1, &ws, unix.WALL|unix.WNOTHREAD, nil)
		if e == unix.EINTR {
			continue
		}
		if e != nil {
			return errors.Join(err, fmt.Errorf("tilecpu: wait: %w", e))
		}
		if e := t.event(tid, ws); e != nil && err == nil {
			err = e
			unix.Kill(t.pid, unix.SIGKILL)
		}
	}
	return err
}

// begin waits until the program is loaded and makes its detectors stop where they return.
func (t *tracer) begin() error {
	var ws unix.WaitStatus
	if _, err := unix.Wait4(t.pid, &ws, unix.WALL, nil); err != nil {
		return fmt.Errorf("tilecpu: wait: %w", err)
	}
	if !ws.Stopped() {
		return fmt.Errorf("tilecpu: the program ended before it began: status %#x", ws)
	}
	t.threads[t.pid] = &tiles{}
	const options = unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_EXITKILL | unix.PTRACE_O_TRACESYSGOOD
	if err := unix.PtraceSetOptions(t.pid, options); err != nil {
		return fmt.Errorf("tilecpu: ptrace: %w", err)
	}
	const int3 = 0xCC
	var code [1]byte
	for at := range t.program.returns {
		if err := process(t.pid).readRows(code[:], at, 0, 1, 1); err == unix.EPERM || err == unix.ENOSYS {
			return ErrNotPermitted
		}
		if _, err := unix.PtracePokeText(t.pid, uintptr(at), []byte{int3}); err != nil {
			return fmt.Errorf("tilecpu: ptrace: %w", err)
		}
	}
	return t.resume(t.pid, 0)
}

// resume lets a thread go on with a signal. Until the program has asked for tiles every system call stops it again.
func (t *tracer) resume(tid int, signal unix.Signal) error {
	goOn := unix.PtraceCont
	if !t.allowed {
		goOn = unix.PtraceSyscall
	}
	if err := goOn(tid, int(signal)); err != nil && err != unix.ESRCH { // ended meanwhile
		return fmt.Errorf("tilecpu: ptrace: %w", err)
	}
	return nil
}

// event answers one stop, or the end, of one thread. What is not the tracer's business reaches the program.
func (t *tracer) event(tid int, ws unix.WaitStatus) error {
	const systemCall = unix.SIGTRAP | 0x80
	if ws.Exited() || ws.Signaled() {
		delete(t.threads, tid)
		if tid == t.pid {
			t.status, t.over = ws, true
		}
		return nil
	}
	signal := ws.StopSignal()
	if t.threads[tid] == nil {
		t.threads[tid] = &tiles{}
		if signal == unix.SIGSTOP { // how the life of a traced thread begins
			return t.resume(tid, 0)
		}
	}
	var mine bool
	var err error
	switch {
	case signal == systemCall:
		mine, err = true, t.permission(tid)
	case signal == unix.SIGTRAP && ws.TrapCause() > 0: // a thread was made
		mine = true
	case signal == unix.SIGTRAP:
		mine, err = t.detected(tid)
	case signal == unix.SIGILL:
		mine, err = t.instructions(tid)
	}
	if err == unix.ESRCH {
		return nil
	}
	if err != nil {
		return err
	}
	if mine {
		signal = 0
	}
	return t.resume(tid, signal)
}

// permission makes the request for tiles succeed, which is a stop where the call of Linux has returned.
func (t *tracer) permission(tid int) error {
	var regs unix.PtraceRegs
	if err := unix.PtraceGetRegs(tid, &regs); err != nil {
		return err
	}
	const reqXcompPerm, xtileData = 0x1023, 18
	entered := int64(regs.Rax) == -int64(unix.ENOSYS)
	if regs.Orig_rax != unix.SYS_ARCH_PRCTL || regs.Rdi != reqXcompPerm || regs.Rsi != xtileData || entered {
		return nil
	}
	regs.Rax, t.allowed = 0, true
	return unix.PtraceSetRegs(tid, &regs)
}

// detected adds tiles to what a detector has found, and returns in its place.
func (t *tracer) detected(tid int) (mine bool, err error) {
	var regs unix.PtraceRegs
	if err := unix.PtraceGetRegs(tid, &regs); err != nil {
		return false, err
	}
	d := t.program.returns[regs.Rip-1]
	if d == nil {
		return false, nil
	}
	frame := make([]byte, 8+4*d.words)
	m := process(t.pid)
	if err := m.readRows(frame, regs.Rsp, 0, 1, len(frame)); err != nil {
		return false, err
	}
	words := make([]uint32, d.words)
	for i := range words {
		words[i] = binary.LittleEndian.Uint32(frame[8+4*i:])
	}
	d.add(words)
	for i, w := range words {
		binary.LittleEndian.PutUint32(frame[8+4*i:], w)
	}
	if err := m.writeRows(frame, regs.Rsp, 0, 1, len(frame)); err != nil {
		return false, err
	}
	regs.Rip = binary.LittleEndian.Uint64(frame)
	regs.Rsp += 8
	return true, unix.PtraceSetRegs(tid, &regs)
}

// instructions carries out the tile instruction that a thread has stopped at, and those that follow it directly.
func (t *tracer) instructions(tid int) (mine bool, err error) {
	var regs unix.PtraceRegs
	if err := unix.PtraceGetRegs(tid, &regs); err != nil {
		return false, err
	}
	register := registers(&regs)
	for {
		in := t.at(regs.Rip)
		if in == nil {
			break
		}
		err := t.threads[tid].do(in, process(t.pid), register)
		if !t.allowed {
			err = errors.New("before Linux was asked for tiles")
		}
		if err != nil {
			return true, fmt.Errorf("tilecpu: %v at %s: %w", in.op, t.program.line(regs.Rip), err)
		}
		t.counts[in.op]++
		regs.Rip += uint64(in.size)
		mine = true
	}
	if !mine {
		return false, nil
	}
	return true, unix.PtraceSetRegs(tid, &regs)
}

// at is the tile instruction at an address, or nil.
func (t *tracer) at(pc uint64) *instruction {
	in, seen := t.known[pc]
	if seen {
		return in
	}
	code := make([]byte, maxCode)
	for len(code) > 0 && process(t.pid).readRows(code, pc, 0, 1, len(code)) != nil {
		code = code[:len(code)-1] // the end of the program's code
	}
	if decoded, ok := decode(code); ok {
		in = &decoded
	}
	t.known[pc] = in
	return in
}

// registers reads general registers by their numbers.
func registers(r *unix.PtraceRegs) func(n int) uint64 {
	all := [16]uint64{r.Rax, r.Rcx, r.Rdx, r.Rbx, r.Rsp, r.Rbp, r.Rsi, r.Rdi, r.R8, r.R9, r.R10, r.R11, r.R12, r.R13, r.R14, r.R15}
	return func(n int) uint64 { return all[n] }
}

// Lacks says why programs cannot run with tiles here; empty if they can.
func Lacks() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	switch {
	case err != nil:
		return "what the processor has cannot be read: " + err.Error()
	case !strings.Contains(string(info), " avx512_bf16"):
		return "this machine has no AVX512-BF16, which tile kernels use beside tiles"
	case strings.Contains(string(info), " amx_tile"):
		return "this machine has tiles: they are used, not emulated"
	}
	return ""
}
