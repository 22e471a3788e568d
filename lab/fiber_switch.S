/* SPDX-License-Identifier: MIT */
/*
 * void lab_fiber_jump(void **save, void *load): what a called function must preserve goes on the stack, the stack pointer to
 * *save; then the same backwards from `load`. The floating-point control words are left alone: nothing here changes them. The
 * return is an indirect jump, because a return would be predicted from the calls of the fiber that is being left.
 *
 * lab_fiber_start: where a prepared context begins; see lab_fiber_prepare() for the frame that it finds.
 */
	.text
#if defined(__x86_64__)
	.globl	lab_fiber_jump
	.type	lab_fiber_jump, @function
	.p2align 4
lab_fiber_jump:
	.cfi_startproc
	pushq	%rbp
	pushq	%rbx
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	movq	%rsp, (%rdi)
	movq	%rsi, %rsp
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbx
	popq	%rbp
	popq	%rcx
	jmp	*%rcx
	.cfi_endproc
	.size	lab_fiber_jump, . - lab_fiber_jump

	.globl	lab_fiber_start
	.type	lab_fiber_start, @function
	.p2align 4
lab_fiber_start:
	.cfi_startproc
	.cfi_undefined rip
	movq	%r12, %rdi
	callq	*%r13
	ud2
	.cfi_endproc
	.size	lab_fiber_start, . - lab_fiber_start
#elif defined(__aarch64__)
	.globl	lab_fiber_jump
	.type	lab_fiber_jump, %function
	.p2align 4
lab_fiber_jump:
	.cfi_startproc
	stp	x29, x30, [sp, #-160]!
	stp	x19, x20, [sp, #16]
	stp	x21, x22, [sp, #32]
	stp	x23, x24, [sp, #48]
	stp	x25, x26, [sp, #64]
	stp	x27, x28, [sp, #80]
	stp	d8, d9, [sp, #96]
	stp	d10, d11, [sp, #112]
	stp	d12, d13, [sp, #128]
	stp	d14, d15, [sp, #144]
	mov	x9, sp
	str	x9, [x0]
	mov	sp, x1
	ldp	x19, x20, [sp, #16]
	ldp	x21, x22, [sp, #32]
	ldp	x23, x24, [sp, #48]
	ldp	x25, x26, [sp, #64]
	ldp	x27, x28, [sp, #80]
	ldp	d8, d9, [sp, #96]
	ldp	d10, d11, [sp, #112]
	ldp	d12, d13, [sp, #128]
	ldp	d14, d15, [sp, #144]
	ldp	x29, x30, [sp], #160
	br	x30
	.cfi_endproc
	.size	lab_fiber_jump, . - lab_fiber_jump

	.globl	lab_fiber_start
	.type	lab_fiber_start, %function
	.p2align 4
lab_fiber_start:
	.cfi_startproc
	.cfi_undefined x30
	mov	x0, x19
	blr	x20
	brk	#1
	.cfi_endproc
	.size	lab_fiber_start, . - lab_fiber_start
#else
#error "the race lab's fibers are written for x86-64 and aarch64"
#endif
	.section .note.GNU-stack, "", %progbits
