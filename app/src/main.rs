fn main() {
    bellwether_cli::main()
}
