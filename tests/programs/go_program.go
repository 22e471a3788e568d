// SPDX-License-Identifier: MIT

// A Go program: package syscall and the runtime make their system calls inline; C code in the same program goes through libc.
package main

// #include <stdlib.h>
// #include <sys/mman.h>
// #include "probe.h"
// static void unmap(void *p) { munmap(p, 65536); }
import "C"

import (
	"fmt"
	"os"
	"syscall"
	"unsafe"
)

func run(what string, monitor string, change func(b []byte)) {
	name := C.CString(monitor)
	err := C.probe_open(name)
	seen := C.int(0)
	if err == 0 {
		b, e := syscall.Mmap(-1, 0, 65536, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
		if e != nil {
			fmt.Println(e)
			os.Exit(1)
		}
		b[0] = 1
		err = C.probe_watch(C.ulong(uintptr(unsafe.Pointer(&b[0]))))
		change(b)
		seen = C.probe_seen()
		C.probe_close()
	}
	C.probe_report(C.CString(what), name, err, seen)
}

func main() {
	for _, monitor := range []string{"explicit", "hooks", "uffd", "auto"} {
		run("go syscall.Munmap", monitor, func(b []byte) { syscall.Munmap(b) })
		run("go cgo", monitor, func(b []byte) { C.unmap(unsafe.Pointer(&b[0])) })
	}
}
