//! The allocator.

use mimalloc::MiMalloc;

/// A request makes hundreds of small allocations; this one takes a fraction of the time that the C
/// library's takes for them.
#[global_allocator]
static HEAP: MiMalloc = MiMalloc;

// The crate of the allocator has its code, and no name for this.
#[expect(unsafe_code, reason = "the declaration of a function in C")]
unsafe extern "C" {
    safe fn mi_collect(force: bool);
}

/// Gives the kernel back the pages that nothing is left on. By itself the allocator does that when it is
/// next called, at some time after the pages became free: a daemon of which nothing is asked would keep
/// what its last burst has taken.
pub(crate) fn give_back() {
    mi_collect(true);
}
