//! The warden and the keeper as a program of its own, for this crate's tests. What is shipped is
//! `reckon warden`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let keep = std::env::args_os().nth(1).is_some_and(|argument| argument == "keep");
    match if keep { reckon_cage::keeper::main() } else { reckon_cage::warden::main() } {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The engine that started it inherits its own stderr to it; nobody else listens.
            let _ =
                std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("reckon-warden: {error}\n"));
            ExitCode::from(2)
        }
    }
}
