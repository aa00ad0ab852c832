//! The generated bindings, alone in one file: the imports, and one module per hook that shares
//! their types. Generated from `wit/` at compile time.
#![allow(
    missing_docs,
    unsafe_code,
    unreachable_pub,
    clippy::all,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "generated code"
)]

wit_bindgen::generate!({
    path: "wit",
    world: "imports",
    generate_all,
    additional_derives: [PartialEq],
});

pub use cnidaria::policy::*;

#[cfg(target_family = "wasm")]
pub mod hooks {
    macro_rules! hook {
        ($module:ident, $world:literal, $path:literal $(, $types:literal)?) => {
            pub mod $module {
                wit_bindgen::generate!({
                    path: "wit",
                    world: $world,
                    pub_export_macro: true,
                    default_bindings_module: $path,
                    $(with: { $types: crate::bindings::cnidaria::policy::types },)?
                });
            }
        };
    }

    hook!(
        configure,
        "hook-configure",
        "cnidaria_guest::bindings::hooks::configure"
    );
    hook!(
        select,
        "hook-select",
        "cnidaria_guest::bindings::hooks::select",
        "cnidaria:policy/types@0.3.0"
    );
    hook!(
        validate_selections,
        "hook-validate-selections",
        "cnidaria_guest::bindings::hooks::validate_selections",
        "cnidaria:policy/types@0.3.0"
    );
    hook!(
        before_add,
        "hook-before-add",
        "cnidaria_guest::bindings::hooks::before_add",
        "cnidaria:policy/types@0.3.0"
    );
    hook!(
        validate_plan,
        "hook-validate-plan",
        "cnidaria_guest::bindings::hooks::validate_plan",
        "cnidaria:policy/types@0.3.0"
    );
    hook!(
        after_add,
        "hook-after-add",
        "cnidaria_guest::bindings::hooks::after_add",
        "cnidaria:policy/types@0.3.0"
    );
    hook!(
        finalize,
        "hook-finalize",
        "cnidaria_guest::bindings::hooks::finalize",
        "cnidaria:policy/types@0.3.0"
    );
    hook!(
        validate_result,
        "hook-validate-result",
        "cnidaria_guest::bindings::hooks::validate_result",
        "cnidaria:policy/types@0.3.0"
    );
    hook!(
        add_failed,
        "hook-add-failed",
        "cnidaria_guest::bindings::hooks::add_failed",
        "cnidaria:policy/types@0.3.0"
    );
    hook!(
        check,
        "hook-check",
        "cnidaria_guest::bindings::hooks::check",
        "cnidaria:policy/types@0.3.0"
    );
    hook!(
        status,
        "hook-status",
        "cnidaria_guest::bindings::hooks::status"
    );
    hook!(
        del,
        "hook-del",
        "cnidaria_guest::bindings::hooks::del",
        "cnidaria:policy/types@0.3.0"
    );
    hook!(
        gc,
        "hook-gc",
        "cnidaria_guest::bindings::hooks::gc",
        "cnidaria:policy/types@0.3.0"
    );
}
