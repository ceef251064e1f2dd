//! Temporary.
use clap::Parser;
#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    sim: servelab_simengine::SimArgs,
}
fn main() -> std::process::ExitCode {
    let cli = Cli::parse();
    match servelab_simengine::run(&cli.sim) {
        Ok(r) => std::process::ExitCode::from(r.exit_code()),
        Err(e) => {
            eprintln!("{e}");
            std::process::ExitCode::from(e.exit_code())
        }
    }
}
