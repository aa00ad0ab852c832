//! A CNI delegate for tests and benchmarks that touches no network. Without instructions every verb
//! succeeds immediately; with instructions (see `README.md`) it misbehaves. It can record calls.

mod answer;
mod call;
mod instructions;
mod record;

use std::process::ExitCode;

use call::Call;
use instructions::Instructions;

fn main() -> ExitCode {
    let call = match Call::receive() {
        Ok(call) => call,
        Err(problem) => return answer::failure(&problem),
    };
    let instructions = match Instructions::find(&call) {
        Ok(instructions) => instructions,
        Err(problem) => return answer::failure(&problem),
    };
    if let Some(directory) = &instructions.record
        && let Err(problem) = record::write(directory, &call)
    {
        return answer::failure(&problem);
    }
    answer::give(&call, &instructions.behaviour)
}
