package tilecpu

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// process is another process's memory, by its id.
type process int

func (p process) readRows(dst []byte, first, stride uint64, rows, width int) error {
	return p.move(unix.ProcessVMReadv, "read", dst, first, stride, rows, width)
}

func (p process) writeRows(src []byte, first, stride uint64, rows, width int) error {
	return p.move(unix.ProcessVMWritev, "written", src, first, stride, rows, width)
}

// move copies rows by one system call. Like a processor, and unlike a debugger, it heeds what may be written.
func (p process) move(call func(int, []unix.Iovec, []unix.RemoteIovec, uint) (int, error), what string, buf []byte, first, stride uint64, rows, width int) error {
	var far [maxRows]unix.RemoteIovec
	n := rows
	for i := range rows {
		far[i] = unix.RemoteIovec{Base: uintptr(first + uint64(i)*stride), Len: width}
	}
	if stride == uint64(width) {
		far[0].Len, n = rows*width, 1
	}
	near := unix.Iovec{Base: &buf[0]}
	near.SetLen(len(buf))
	done, err := call(int(p), []unix.Iovec{near}, far[:n], 0)
	if err == nil && done == len(buf) {
		return nil
	}
	if err != nil && err != unix.EFAULT {
		return err
	}
	row := max(done, 0) / width
	return fmt.Errorf("row %d of %d bytes at %#x cannot be %s", row, width, first+uint64(row)*stride, what)
}
