//! `policy-compiler policy compile --child JSON`: stands in for `cnidaria` so that tests need not
//! build it.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [policy, compile, child, confinement] = arguments.as_slice() else {
        return ExitCode::from(2);
    };
    assert_eq!([policy, compile, child], ["policy", "compile", "--child"]);
    match policy_engine::compile::child(confinement) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            if error.is_refusal() {
                policy_engine::compile::REFUSED.into()
            } else {
                ExitCode::FAILURE
            }
        }
    }
}
