//! The global allocator.

use mimalloc::MiMalloc;

/// Several times faster than libc's allocator for a request's hundreds of small allocations.
#[global_allocator]
static HEAP: MiMalloc = MiMalloc;

// The allocator's crate links this function, but does not declare it.
#[expect(unsafe_code, reason = "the declaration of a function in C")]
unsafe extern "C" {
    safe fn mi_collect(force: bool);
}

/// Returns free pages to the kernel. On its own the allocator does so only in a later call, so that
/// an idle daemon would keep the memory of its last burst.
pub(crate) fn return_memory() {
    mi_collect(true);
}
