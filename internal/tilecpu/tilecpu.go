// Package tilecpu runs a program as on a processor with bf16 tiles (AMX), on one that has none. It is for tests: so the
// tile kernels, and the questions that choose them, run wherever AVX512-BF16 does.
//
// The program is an unchanged Go binary that is traced (ptrace). Where internal/kernel asks what the processor and the
// operating system offer, tiles are added to the answer. The processor then meets tile instructions that it does not
// know, and each such signal (SIGILL) is answered by doing what the instruction says on the thread's own tile registers and the
// program's memory. An instruction costs some microseconds instead of nanoseconds.
//
// What a real processor would refuse ends the program with an error that names the instruction and its line: tiles that
// are not configured, do not fit each other or were released, addresses that cannot be read or written. So does what it
// would bear but our kernels must not do: configure tiles that were not released, or use them before Linux was asked.
//
//	tilecpu.Rerun(t, "-test.run=^TestFrozenProducts$")       // a test binary, from one of its own tests
//	go run ./internal/tilecpu/run ./graft train recipe.toml  // any program
//
// Words: a tile is a register of up to 16 rows of 64 bytes, colsb are the bytes of a row that are configured. The
// instructions are those of Intel's Software Developer's Manual, volume 2, chapter "Intel AMX instruction set reference".
package tilecpu
