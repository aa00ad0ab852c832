//! `policy-compiler policy compile FILE -o OUT`: as `cnidaria`, for tests that do not build that.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [policy, compile, module, o, out] = arguments.as_slice() else {
        return ExitCode::from(2);
    };
    assert_eq!([policy, compile, o], ["policy", "compile", "-o"]);
    match run(module, out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            match error.downcast_ref::<policy_engine::compile::Error>() {
                Some(error) if error.is_refusal() => policy_engine::compile::REFUSED.into(),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn run(module: &str, out: &str) -> Result<(), Box<dyn std::error::Error>> {
    policy_engine::compile::confine()?;
    std::fs::write(
        out,
        policy_engine::compile::compile(&std::fs::read(module)?)?,
    )?;
    Ok(())
}
