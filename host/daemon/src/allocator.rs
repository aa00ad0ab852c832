//! The global allocator.

/// Several times faster than libc's allocator for a request's hundreds of small allocations.
#[cfg(not(debug_assertions))]
#[global_allocator]
static HEAP: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[cfg(debug_assertions)]
#[global_allocator]
static HEAP: counting::Counting = counting::Counting;

// The allocator's crate links this function, but does not declare it.
#[expect(unsafe_code, reason = "the declaration of a function in C")]
unsafe extern "C" {
    safe fn mi_collect(force: bool);
}

/// Returns free pages to the kernel. On its own the allocator does so only in a later call, so that
/// an idle daemon would keep the memory of its last burst.
pub(crate) fn return_memory() {
    mi_collect(true);
    #[cfg(debug_assertions)]
    tracing::info!(live_bytes = counting::live_bytes(), "idle");
}

/// Counts what is allocated, so that a soak test sees a leak beneath the noise of the allocator's
/// pages.
#[cfg(debug_assertions)]
mod counting {
    use std::alloc::{GlobalAlloc, Layout};
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use mimalloc::MiMalloc;

    static LIVE: AtomicUsize = AtomicUsize::new(0);

    /// [`MiMalloc`] with a count.
    pub(super) struct Counting;

    /// Bytes that are allocated now.
    pub(super) fn live_bytes() -> usize {
        LIVE.load(Relaxed)
    }

    // SAFETY: each call is passed on unchanged.
    #[expect(unsafe_code, reason = "the interface of allocators")]
    unsafe impl GlobalAlloc for Counting {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            LIVE.fetch_add(layout.size(), Relaxed);
            // SAFETY: the caller's.
            unsafe { MiMalloc.alloc(layout) }
        }

        unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
            LIVE.fetch_add(layout.size(), Relaxed);
            // SAFETY: the caller's.
            unsafe { MiMalloc.alloc_zeroed(layout) }
        }

        unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
            LIVE.fetch_sub(layout.size(), Relaxed);
            // SAFETY: the caller's.
            unsafe { MiMalloc.dealloc(block, layout) }
        }

        unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
            LIVE.fetch_add(new_size, Relaxed);
            LIVE.fetch_sub(layout.size(), Relaxed);
            // SAFETY: the caller's.
            unsafe { MiMalloc.realloc(block, layout, new_size) }
        }
    }
}
