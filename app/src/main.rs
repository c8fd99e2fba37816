fn main() -> std::process::ExitCode {
    bellwether_cli::main()
}
