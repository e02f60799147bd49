/* SPDX-License-Identifier: MIT */
/*
 * checkpoint.S - where a transaction runs again from: setjmp(3) and longjmp(3) without the
 * signal mask and without mangled pointers, into the segment itself.
 *
 * Offsets of struct stm_seg, which segment.c asserts.
 */
#define ATTENTION 20
#define ATTEND_NESTED 1024              /* STM_ATTEND_NESTED */
#define RBX 64
#define RBP 72
#define R12 80
#define R13 88
#define R14 96
#define R15 104
#define RSP 112
#define RIP 120
#define STATE 24                        /* 0: IDLE */

	.text

/*
 * int stm__begin(const struct stm_site *site): returns 1 to run the transaction, again at each
 * attempt, and 0 when it was cancelled.
 */
	.globl stm__begin
	.type stm__begin, @function
	.p2align 4
stm__begin:
	.cfi_startproc
	endbr64
	movq stm__self@gottpoff(%rip), %rax
	movq %fs:(%rax), %rsi
	testq %rsi, %rsi
	jz stm_begin_unattached
	cmpq $0, STATE(%rsi)
	jne 1f
	movq (%rsp), %rax
	leaq 8(%rsp), %rdx
	movq %rbx, RBX(%rsi)
	movq %rbp, RBP(%rsi)
	movq %r12, R12(%rsi)
	movq %r13, R13(%rsi)
	movq %r14, R14(%rsi)
	movq %r15, R15(%rsi)
	movq %rdx, RSP(%rsi)
	movq %rax, RIP(%rsi)
	jmp stm_begin_outermost         /* (site, segment) */
1:	addl $ATTEND_NESTED, ATTENTION(%rsi) /* part of the outermost one */
	movl $1, %eax
	ret
	.cfi_endproc
	.size stm__begin, .-stm__begin

/* void stm__resume(struct stm_seg *seg, int value): return from stm__begin() with value once more. */
	.globl stm__resume
	.hidden stm__resume
	.type stm__resume, @function
	.p2align 4
stm__resume:
	.cfi_startproc
	movl %esi, %eax
	movq RBX(%rdi), %rbx
	movq RBP(%rdi), %rbp
	movq R12(%rdi), %r12
	movq R13(%rdi), %r13
	movq R14(%rdi), %r14
	movq R15(%rdi), %r15
	movq RSP(%rdi), %rsp
	jmp *RIP(%rdi)
	.cfi_endproc
	.size stm__resume, .-stm__resume

/* int stm__checkpoint_set(struct stm_checkpoint *): returns 0, and 1 once more after stm__checkpoint_take(). */
	.globl stm__checkpoint_set
	.hidden stm__checkpoint_set
	.type stm__checkpoint_set, @function
	.p2align 4
stm__checkpoint_set:
	.cfi_startproc
	endbr64
	movq (%rsp), %rax
	leaq 8(%rsp), %rdx
	movq %rbx, RBX-RBX(%rdi)
	movq %rbp, RBP-RBX(%rdi)
	movq %r12, R12-RBX(%rdi)
	movq %r13, R13-RBX(%rdi)
	movq %r14, R14-RBX(%rdi)
	movq %r15, R15-RBX(%rdi)
	movq %rdx, RSP-RBX(%rdi)
	movq %rax, RIP-RBX(%rdi)
	xorl %eax, %eax
	ret
	.cfi_endproc
	.size stm__checkpoint_set, .-stm__checkpoint_set

/* void stm__checkpoint_take(const struct stm_checkpoint *) */
	.globl stm__checkpoint_take
	.hidden stm__checkpoint_take
	.type stm__checkpoint_take, @function
	.p2align 4
stm__checkpoint_take:
	.cfi_startproc
	endbr64
	subq $RBX, %rdi
	movl $1, %esi
	jmp stm__resume
	.cfi_endproc
	.size stm__checkpoint_take, .-stm__checkpoint_take

	.hidden stm__self
	.hidden stm_begin_outermost
	.hidden stm_begin_unattached
	.section .note.GNU-stack, "", @progbits
