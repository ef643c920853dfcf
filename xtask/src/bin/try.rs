#[path = "../kit.rs"] mod kit;
#[path = "../image.rs"] mod image;
fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args[0].as_str() { "kit" => kit::run(&args[1..]), _ => image::run(&args[1..]) }
}
