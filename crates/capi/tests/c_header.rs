//! The header and the library go together: names, numbers, version, and how programs link.

#![cfg(target_os = "linux")]

mod support;

use shm2_testing::TempPath;
use std::collections::BTreeSet;
use std::process::Command;
use support::{Language, Prefix, read, succeeded, text_of};

/// The header without its comments.
fn code() -> String {
    let header = read("include/shm2.h");
    header.split("/*").map(|part| part.split_once("*/").map_or(part, |(_, code)| code)).collect()
}

/// Names of the functions that the header declares.
fn declared() -> BTreeSet<String> {
    let code = code();
    let before_parentheses = code.split('(').filter_map(|part| part.rsplit([' ', '*', '\n']).next());
    before_parentheses.filter(|name| name.starts_with("shm2_")).map(String::from).collect()
}

#[test]
fn each_header_compiles_alone_in_each_standard() {
    let prefix = Prefix::new();
    let table = [
        (Language::C, "c", "shm2.h", &["-std=c99", "-std=c11", "-std=c17"][..]),
        (Language::Cpp, "c++", "shm2.h", &["-std=c++11", "-std=c++17", "-std=c++20"]),
        (Language::Cpp, "c++", "shm2.hpp", &["-std=c++17", "-std=c++20"]),
    ];
    for (language, name, header, standards) in table {
        for compiler in language.compilers() {
            for standard in standards {
                let mut command = Command::new(compiler);
                command.args(["-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only", standard, "-x", name]);
                // A file that includes it: a header alone would be compiled as a precompiled one.
                let source = TempPath::new("alone");
                std::fs::write(&source, format!("#include <{header}>\n#include <{header}>\n")).unwrap();
                succeeded(command.args(prefix.pkg_config(&["--cflags"])).arg(&source));
            }
        }
    }
}

#[test]
fn the_library_exports_the_functions_of_the_header_and_nothing_else() {
    let prefix = Prefix::new();
    let library = prefix.library_directory().join("libshm2.so");
    let symbols = text_of(&succeeded(Command::new("nm").args(["-D", "--defined-only"]).arg(library)));
    let exported: BTreeSet<_> =
        symbols.lines().filter_map(|line| line.split(' ').next_back()).map(String::from).collect();
    let declared = declared();
    assert!(declared.len() > 100, "the header was not read: {declared:?}");
    assert_eq!(exported, declared);
}

#[test]
fn the_soname_is_libshm2_so_0() {
    let prefix = Prefix::new();
    let library = prefix.library_directory().join("libshm2.so");
    let sections = text_of(&succeeded(Command::new("readelf").arg("-d").arg(library)));
    assert!(sections.contains("Library soname: [libshm2.so.0]"), "{sections}");
}

#[test]
fn each_function_is_tested_with_bad_arguments() {
    let program = read("tests/c/bad_arguments.c");
    let without_arguments = ["shm2_consumer_options_new", "shm2_producer_options_new"];
    let missing: Vec<_> = declared().into_iter().filter(|name| !program.contains(&format!("{name}("))).collect();
    assert!(missing.iter().all(|name| without_arguments.contains(&name.as_str())), "{missing:?}");
}

#[test]
fn each_function_has_a_description() {
    let header = read("include/shm2.h");
    // Functions that belong together share a description, without an empty line between them.
    let groups = header.split("\n\n").filter(|group| group.lines().any(|line| line.starts_with("shm2_")));
    let bare: Vec<_> = groups.filter(|group| !group.contains("*/")).collect();
    assert!(bare.is_empty(), "{bare:?}");
}

#[test]
fn numbers_and_version_of_the_header_are_those_of_the_library() {
    let version = env!("CARGO_PKG_VERSION");
    let mut parts = version.split('.');
    for part in ["MAJOR", "MINOR", "PATCH"] {
        let line = format!("#define SHM2_VERSION_{part} {}", parts.next().unwrap());
        assert!(read("include/shm2.h").contains(&line), "{line}");
    }

    let code = code();
    let (_, statuses) = code.split_once("typedef enum shm2_status {").unwrap();
    let (statuses, _) = statuses.split_once('}').unwrap();
    let names = statuses.split(',').map(|entry| entry.split_once('=').unwrap().0.trim());
    let checks = names.map(|name| format!("    if (strcmp(shm2_status_name({name}), \"{name}\") != 0) return 2;\n"));
    let source = TempPath::new("numbers");
    let source = format!("{}.c", source.text());
    let main = format!(
        "#include <shm2.h>\n#include <string.h>\nint main(void) {{\n{}    \
         return strcmp(shm2_version(), SHM2_VERSION) == 0 && strcmp(SHM2_VERSION, \"{version}\") == 0 ? 0 : 1;\n}}\n",
        checks.collect::<String>()
    );
    assert_eq!(main.matches("if (").count(), 26, "{main}");
    std::fs::write(&source, main).unwrap();
    let program = Prefix::new().compile(&source, "gcc", &[]);
    std::fs::remove_file(&source).unwrap();
    succeeded(&mut program.command(&[]));
}

/// The lines of the first comment that are indented by four blanks, without the commands of a shell.
fn example(header: &str) -> String {
    let lines = header.lines().take_while(|line| !line.contains("RULES FOR ALL") && !line.contains("#ifndef"));
    let code = lines.filter_map(|line| line.strip_prefix(" *     "));
    code.filter(|line| !line.starts_with("cc ")).collect::<Vec<_>>().join("\n")
}

/// The blocks of a page in this language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let blocks = page.split(&fence).skip(1);
    blocks.map(|block| block.split("```").next().unwrap_or_default().into()).collect()
}

#[test]
fn the_examples_of_the_headers_and_of_the_page_compile() {
    let page = std::fs::read_to_string(support::here().join("../../docs/c.md")).unwrap();
    const FOR_C: &str =
        "#include <shm2.h>\nvoid use(const uint8_t *, uint64_t, uint32_t, uint64_t);\nvoid fill(void *);\n";
    const FOR_CPP: &str = "#include <shm2.hpp>\nvoid use(const std::uint8_t *, std::size_t);\n";
    let inside = |before: &str, code: &str| format!("{before}void example(void);\nvoid example(void) {{\n{code}\n}}\n");
    let mut sources = vec![("c", example(&read("include/shm2.h")))];
    sources.extend(blocks(&page, "c").iter().map(|code| ("c", inside(FOR_C, code))));
    sources.push(("cpp", inside(FOR_CPP, &example(&read("include/shm2.hpp")))));
    sources.extend(blocks(&page, "cpp").iter().map(|code| ("cpp", inside(FOR_CPP, code))));
    assert_eq!(sources.len(), 5, "{sources:?}");
    for (extension, code) in sources {
        let (source, object) = (TempPath::new("page"), TempPath::new("object"));
        let source = format!("{}.{extension}", source.text());
        std::fs::write(&source, code).unwrap();
        let compiler = if extension == "c" { "gcc" } else { "g++" };
        if support::is_here(compiler) {
            let mut command = Command::new(compiler);
            command.args(["-Wall", "-Wextra", "-Werror", "-c", "-o"]).arg(&object).arg(&source);
            succeeded(command.args(Prefix::new().pkg_config(&["--cflags"])));
        }
        std::fs::remove_file(&source).unwrap();
    }
}

#[test]
fn a_program_links_by_pkg_config_and_against_the_archive() {
    let prefix = Prefix::new();
    assert_eq!(prefix.pkg_config(&["--modversion"]), [env!("CARGO_PKG_VERSION")]);
    assert!(prefix.pkg_config(&["--libs"]).contains(&"-lshm2".to_string()));
    let program = TempPath::new("static");
    let mut command = Command::new("gcc");
    command.args(["-std=c11", "-o"]).arg(&program).arg(support::here().join("tests/c/round_trip.c"));
    command.args(prefix.pkg_config(&["--cflags"])).arg(prefix.library_directory().join("libshm2.a"));
    let private = prefix.pkg_config(&["--static", "--libs-only-l"]);
    command.args(private.iter().filter(|word| *word != "-lshm2"));
    succeeded(&mut command);
    let region = shm2_testing::TempRegion::new();
    succeeded(Command::new(&program).arg(&*region));
}
