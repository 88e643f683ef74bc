# Not tested: no system with Nix builds this in CI. `nix-instantiate --parse` and an evaluation without nixpkgs were done.
# It needs a flake.lock, which `nix flake lock` writes.
{
  description = "Frames from one process to many through one shared-memory region";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      version = "0.1.0";
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      forEach = make: nixpkgs.lib.genAttrs systems (system: make nixpkgs.legacyPackages.${system});
      # What building takes on all systems.
      build = pkgs: {
        native = [ pkgs.pkg-config ];
        libraries = with pkgs.gst_all_1; [
          gstreamer
          gst-plugins-base
        ];
      };
      package =
        pkgs:
        {
          pname,
          crate,
          description,
          needsGStreamer ? false,
          postInstall ? "",
        }:
        pkgs.rustPlatform.buildRustPackage {
          inherit pname version postInstall;
          src = self;
          cargoLock.lockFile = ./Cargo.lock;
          cargoBuildFlags = [
            "-p"
            crate
          ];
          # The tests need /dev/shm, processes and sockets; run them by `cargo xtask test` in the shell of this flake.
          doCheck = false;
          nativeBuildInputs = pkgs.lib.optionals needsGStreamer (build pkgs).native;
          buildInputs = pkgs.lib.optionals needsGStreamer (build pkgs).libraries;
          meta = {
            inherit description;
            homepage = "https://github.com/shm2/shm2";
            license = with pkgs.lib.licenses; [
              mit
              asl20
            ];
            platforms = systems;
          };
        };
    in
    {
      packages = forEach (pkgs: rec {
        default = tools;
        tools = package pkgs {
          pname = "shm2-tools";
          crate = "shm2-tool";
          description = "The command shm2: see, record and serve shared-memory regions";
        };
        plugin = package pkgs {
          pname = "gst-plugin-shm2";
          crate = "gst-plugin-shm2";
          description = "GStreamer elements shm2sink and shm2src";
          needsGStreamer = true;
          # Nixpkgs looks for plugins there.
          postInstall = ''
            mkdir -p $out/lib/gstreamer-1.0
            mv $out/lib/libgstshm2.so $out/lib/gstreamer-1.0/
          '';
        };
        relay = package pkgs {
          pname = "shm2-relayd";
          crate = "shm2-relayd";
          description = "Runs a camera only while there is demand";
          needsGStreamer = true;
        };
      });

      devShells = forEach (pkgs: {
        default = pkgs.mkShell {
          nativeBuildInputs = (build pkgs).native ++ [
            pkgs.cargo
            pkgs.clippy
            pkgs.rustc
            pkgs.rustfmt
            pkgs.shellcheck
            pkgs.valgrind
          ];
          buildInputs =
            (build pkgs).libraries
            ++ (with pkgs.gst_all_1; [
              gst-rtsp-server
              gst-plugins-good
              gst-plugins-bad
              gst-plugins-ugly
              gst-libav
            ]);
        };
      });
    };
}
