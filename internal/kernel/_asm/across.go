package main

import "fmt"

// acrossCols are the registers of columns that 1, 2 … 8 rows keep sums of.
var acrossCols = []int{16, 8, 6, 6, 4, 4, 3, 3}

// across writes the kernel of few rows for weights stored [in, out]: it walks down some columns of the weight and adds each row of it to the sums.
func across(f *file) {
	f.p("#include \"tile_amd64.h\"")
	f.text("acrossRows", "j.m rows and j.groups blocks of columns: y += Σ_n x[n]·a[n], a block of fewer columns last", "acrossJob", 0)
	f.i("MOVQ acrossJob_m(DI), AX")
	f.i("MOVQ acrossJob_dtype(DI), BX")
	f.i("KMOVW acrossJob_lanes(DI), K1")
	for m := len(acrossCols); m > 1; m-- {
		f.i("CMPQ AX, $%d", m)
		f.i("JEQ rows%d", m)
	}
	for m := 1; m <= len(acrossCols); m++ {
		acrossRows(f, m)
	}
}

// Registers: R8 x, R9 its row stride, R13 three times that, SI x's row 4, R10 a, R11 its row stride, R14 what to prefetch, CX the steps left, R12 y, DX its
// row stride.
func acrossRows(f *file, m int) {
	cols := acrossCols[m-1]
	f.p("rows%d:", m)
	f.i("CMPQ acrossJob_groups(DI), $0")
	f.i("JEQ single%d", m)
	acrossBlock(f, m, cols, false)
	acrossNext(f, m, cols, "groups")
	f.i("JMP rows%d", m)
	f.p("single%d:", m)
	f.i("CMPQ acrossJob_singles(DI), $0")
	f.i("JEQ last%d", m)
	acrossBlock(f, m, 1, false)
	acrossNext(f, m, 1, "singles")
	f.i("JMP single%d", m)
	f.p("last%d:", m)
	f.i("CMPQ acrossJob_lanes(DI), $0")
	f.i("JEQ end%d", m)
	acrossBlock(f, m, 1, true)
	f.p("end%d:", m)
	f.i("VZEROUPPER")
	f.i("RET")
}

// acrossBlock is one block of columns: of whole registers, or of some lanes of one.
func acrossBlock(f *file, m, cols int, lanes bool) {
	name := fmt.Sprintf("%d_%d_%v", m, cols, lanes)
	f.load("acrossJob", "x", "R8", "xRow", "R9", "a", "R10", "aRow", "R11", "steps", "CX", "ahead", "R14")
	f.i("ADDQ R10, R14")
	f.i("LEAQ (R9)(R9*2), R13")
	if m > 4 {
		f.i("LEAQ (R8)(R9*4), SI")
	}
	f.zero(zmm, m*cols)
	for _, dtype := range dtypes[1:] {
		f.i("CMPQ BX, $%d", dtypeNumber(dtype))
		f.i("JEQ %s_%s", dtype, name)
	}
	for d, dtype := range dtypes {
		f.p("%s_%s:", dtype, name)
		acrossStep(f, m, cols, dtype, lanes)
		f.i("DECQ CX")
		f.i("JNZ %s_%s", dtype, name)
		if d < len(dtypes)-1 {
			f.i("JMP sum_%s", name)
		}
	}
	f.p("sum_%s:", name)
	f.i("MOVQ acrossJob_y(DI), R12")
	f.i("MOVQ acrossJob_yRow(DI), DX")
	for i := range m {
		for l := range cols {
			r := zmm.r(cols*i + l)
			if lanes {
				f.i("VMOVUPS.Z (R12), K1, Z31")
				f.i("VADDPS Z31, %s, %s", r, r)
				f.i("VMOVUPS %s, K1, (R12)", r)
				continue
			}
			f.i("VADDPS %d(R12), %s, %s", 64*l, r, r)
			f.i("VMOVUPS %s, %d(R12)", r, 64*l)
		}
		if i < m-1 {
			f.i("ADDQ DX, R12")
		}
	}
}

func dtypeNumber(name string) int {
	if name == lossless {
		return 5
	}
	for i, d := range dtypes {
		if d == name {
			return i
		}
	}
	panic(name)
}

// acrossStep adds one row of a, times each row's number of x.
func acrossStep(f *file, m, cols int, dtype string, lanes bool) {
	for at := 0; at < cols*16*size(dtype) && !lanes; at += 64 {
		f.i("PREFETCHT0 %d(R14)", at)
	}
	bases := func(i int) string { return index([]string{"R8", "SI"}[i/4], "R9", "R13", i%4) }
	if m == 1 { // each number of a is used once
		f.i("VBROADCASTSS (R8), Z31")
		for l := range cols {
			acrossLoad(f, dtype, l, 16+l%8, lanes)
			f.i("VFMADD231PS Z%d, Z31, Z%d", 16+l%8, l)
		}
	} else {
		a := m * cols
		for l := range cols {
			acrossLoad(f, dtype, l, a+l, lanes)
		}
		for i := range m {
			f.i("VBROADCASTSS %s, Z%d", bases(i), 30+i%2)
			for l := range cols {
				f.i("VFMADD231PS Z%d, Z%d, Z%d", a+l, 30+i%2, cols*i+l)
			}
		}
	}
	f.i("ADDQ $4, R8")
	if m > 4 {
		f.i("ADDQ $4, SI")
	}
	f.i("ADDQ R11, R10")
	f.i("ADDQ R11, R14")
}

// acrossLoad widens register l of a row of a.
func acrossLoad(f *file, dtype string, l, r int, lanes bool) {
	addr := fmt.Sprintf("%d(R10)", 16*size(dtype)*l)
	if !lanes {
		f.widen(dtype, addr, zmm.r(r))
		return
	}
	switch dtype {
	case "f32":
		f.i("VMOVUPS.Z %s, K1, Z%d", addr, r)
	case "f16":
		f.i("VCVTPH2PS.Z %s, K1, Z%d", addr, r)
	case "bf16":
		f.i("VPMOVZXWD.Z %s, K1, Z%d", addr, r)
		f.i("VPSLLD $16, Z%d, Z%d", r, r)
	}
}

// acrossNext goes on to the next block of columns.
func acrossNext(f *file, m, cols int, count string) {
	f.i("DECQ acrossJob_%s(DI)", count)
	f.i("ADDQ $%d, acrossJob_y(DI)", 64*cols)
	f.i("MOVQ $%d, AX", 16*cols)
	f.i("IMULQ acrossJob_size(DI), AX")
	f.i("ADDQ AX, acrossJob_a(DI)")
}
