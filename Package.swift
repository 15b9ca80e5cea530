// swift-tools-version: 6.2
import PackageDescription

// A folder of Sources is a layer, a folder in it a module. A module depends on modules of its own layer or of layers below,
// and names every one that it imports: `make lint` holds this list true. Layers, from the bottom: System, Base, Clients
// and Domain, Stores, Service, Tools, App. Sources/README.md is the map.

let strict: [SwiftSetting] = [
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
  .treatAllWarnings(as: .error),
  // Every module has Swift 6's data race safety checked when it is built. What comes in from C goes through
  // `LoopActor.assumeIsolated`, which checks where it runs; checking again in each closure costs a tenth of a poll.
  .unsafeFlags(["-Xfrontend", "-disable-dynamic-actor-isolation"]),
  // That nobody changes what somebody else is just using is checked by the compiler where it can see it, and else while the
  // tests of the debug build run. To look in each use of each variable as well was a fifth of a poll.
  .unsafeFlags(["-enforce-exclusivity=unchecked"], .when(configuration: .release)),
  // Tests look inside modules; with this, they run against the very build that ships, not a second one.
  .unsafeFlags(["-enable-testing"], .when(configuration: .release)),
]

func module(
  _ layer: String, _ name: String, _ dependencies: [String], exclude: [String] = [],
  resources: [Resource]? = nil
) -> Target {
  .target(
    name: name, dependencies: dependencies.map { .byName(name: $0) }, path: "Sources/\(layer)/\(name)",
    exclude: exclude, resources: resources, swiftSettings: strict)
}

func tests(_ kind: String, _ name: String, _ dependencies: [String], exclude: [String] = []) -> Target {
  .testTarget(
    name: name, dependencies: dependencies.map { .byName(name: $0) }, path: "Tests/\(kind)/\(name)",
    exclude: exclude, swiftSettings: strict)
}

/// A C library of Debian's.
func library(_ name: String, _ pkgConfig: String, debian: String) -> Target {
  .systemLibrary(
    name: name, path: "Sources/System/\(name)", pkgConfig: pkgConfig, providers: [.apt([debian])])
}

// `make fuzz` builds this, with libFuzzer; nothing else needs its runtime.
let fuzzing: [Target] =
  Context.environment["ONSALE_FUZZ"] == nil
  ? []
  : [
    .systemLibrary(name: "CLibFuzzer", path: "Tests/Fuzz/CLibFuzzer"),
    .executableTarget(
      name: "onsale-fuzz", dependencies: ["CLibFuzzer", "FuzzTargets"], path: "Tests/Fuzz/FuzzRunner",
      swiftSettings: strict),
  ]

let package = Package(
  name: "onsale",
  targets: fuzzing + [
    // System
    library("CLibUV", "libuv", debian: "libuv1-dev"),
    library("CHiredis", "hiredis", debian: "libhiredis-dev"),
    library("CLibPQ", "libpq", debian: "libpq-dev"),
    library("CCurl", "libcurl", debian: "libcurl4-openssl-dev"),
    library("CJWT", "librhonabwy", debian: "librhonabwy-dev"),
    library("CSodium", "libsodium", debian: "libsodium-dev"),
    library("CZlib", "zlib", debian: "zlib1g-dev"),
    library("CBrotli", "libbrotlienc", debian: "libbrotli-dev"),
    library("CIDN2", "libidn2", debian: "libidn2-dev"),
    .systemLibrary(
      name: "CHTTPParser", path: "Sources/System/CHTTPParser", providers: [.apt(["libhttp-parser-dev"])]),
    // A library of C++ headers, from Debian's rapidjson-dev, behind functions of C.
    .target(
      name: "CRapidJSON", path: "Sources/System/CRapidJSON",
      cxxSettings: [.unsafeFlags(["-O2", "-gdwarf-4"])]),
    // A hook of Swift's runtime that has no name in Swift.
    .target(
      name: "CSwiftJobs", path: "Sources/System/CSwiftJobs", cSettings: [.unsafeFlags(["-O2", "-gdwarf-4"])]),

    // Base
    module("Base", "EventLoop", ["CLibUV", "CSwiftJobs"]),
    module("Base", "Logging", ["Text"]),
    module("Base", "Metrics", ["EventLoop"]),
    module("Base", "Lifecycle", ["EventLoop", "Logging"]),
    module("Base", "JSON", ["CRapidJSON"]),
    module("Base", "FaultInjection", ["EventLoop", "Logging"]),
    module("Base", "Text", []),
    module("Base", "Compression", ["CBrotli", "CZlib", "EventLoop"]),

    // Clients
    module("Clients", "HTTPServer", ["CHTTPParser", "EventLoop", "Logging", "Metrics", "Lifecycle", "JSON"]),
    module("Clients", "HTTPClient", ["CCurl", "EventLoop"]),
    module("Clients", "SMTPClient", ["CCurl", "EventLoop", "Text"]),
    module("Clients", "Redis", ["CHiredis", "EventLoop", "Logging", "Metrics"]),
    module("Clients", "Postgres", ["CLibPQ", "EventLoop", "Logging", "Metrics"]),

    // Domain
    module("Domain", "Sale", []),

    // Stores
    module("Stores", "StoreCommon", ["CSodium"]),
    module(
      "Stores", "Queue", ["EventLoop", "Redis", "Sale", "StoreCommon"], exclude: ["README.md"],
      resources: [.embedInCode("Functions")]),
    module("Stores", "Ledger", ["EventLoop", "Logging", "Postgres", "Sale", "StoreCommon"]),
    module("Stores", "Archive", ["EventLoop", "Postgres", "Sale", "StoreCommon", "Queue", "Ledger"]),
    module(
      "Stores", "Search",
      ["Compression", "EventLoop", "Logging", "Metrics", "JSON", "Text", "HTTPClient", "Postgres", "Sale"],
      exclude: ["README.md"]),
    module("Stores", "Payments", ["EventLoop", "JSON", "HTTPClient", "Sale"]),
    module("Stores", "Identity", ["CJWT", "CSodium", "EventLoop", "JSON"]),

    // Service
    module(
      "Service", "HTTPCommon",
      [
        "CIDN2", "Compression", "EventLoop", "Text", "Logging", "Metrics", "JSON", "HTTPServer", "Redis",
        "Postgres",
        "Sale", "Identity", "StoreCommon", "Queue", "Ledger",
      ], resources: [.embedInCode("Resources")]),
    module(
      "Service", "Catalog",
      [
        "Compression", "EventLoop", "Text", "Logging", "Metrics", "Lifecycle", "JSON", "HTTPServer",
        "Postgres", "Sale",
        "Identity", "StoreCommon", "Queue", "Ledger", "Search", "HTTPCommon",
      ]),
    module(
      "Service", "Intake",
      [
        "EventLoop", "Logging", "Metrics", "Lifecycle", "FaultInjection", "JSON", "HTTPServer", "Sale",
        "Identity", "StoreCommon", "Queue", "Ledger", "Archive", "Payments", "HTTPCommon",
      ]),
    module(
      "Service", "Notifier",
      [
        "EventLoop", "Logging", "Metrics", "JSON", "HTTPServer", "Redis", "Sale", "Identity", "StoreCommon",
        "Queue", "Ledger", "Archive",
        "HTTPCommon",
      ]),
    module(
      "Service", "Admin",
      [
        "EventLoop", "Text", "Logging", "JSON", "HTTPServer", "HTTPClient", "Redis", "Postgres", "Sale",
        "Identity", "StoreCommon", "Queue", "Ledger", "Payments", "HTTPCommon", "Archive",
      ]),
    module(
      "Service", "Web", ["Compression", "EventLoop", "Text", "HTTPServer", "Sale"],
      resources: [.embedInCode("Assets")]),
    module(
      "Service", "Worker",
      [
        "EventLoop", "Logging", "Metrics", "Lifecycle", "FaultInjection", "Redis", "Postgres", "Sale",
        "StoreCommon", "Queue", "Ledger", "Archive", "Payments",
      ]),
    module(
      "Service", "Webhooks",
      [
        "EventLoop", "Logging", "Metrics", "Lifecycle", "FaultInjection", "JSON", "HTTPClient", "Sale",
        "Identity", "StoreCommon", "Queue", "Ledger",
      ]),
    module(
      "Service", "Mailer",
      ["EventLoop", "Text", "Logging", "Metrics", "Lifecycle", "SMTPClient", "Identity", "Ledger"]),
    module(
      "Service", "Indexer",
      [
        "EventLoop", "Logging", "Metrics", "Lifecycle", "FaultInjection", "Redis", "Sale", "Queue", "Ledger",
        "Search",
      ]),

    // Tools
    module("Tools", "Capacity", ["JSON", "Sale"]),
    module(
      "Tools", "Audit",
      [
        "EventLoop", "Text", "Logging", "JSON", "HTTPClient", "Redis", "Postgres", "Sale", "StoreCommon",
        "Queue", "Ledger", "Archive",
        "Payments",
      ]),
    module(
      "Tools", "LoadTest",
      ["EventLoop", "Text", "Logging", "JSON", "HTTPClient", "Redis", "Postgres", "Identity", "Audit"]),
    module(
      "Tools", "PaymentStub",
      [
        "EventLoop", "Logging", "Lifecycle", "JSON", "HTTPServer", "HTTPClient", "Sale", "Identity",
      ]),

    // App
    .executableTarget(
      name: "onsale",
      dependencies: [
        "EventLoop", "Logging", "Metrics", "Lifecycle", "FaultInjection", "HTTPServer", "HTTPClient",
        "SMTPClient", "Redis", "Postgres", "Sale", "Identity", "Queue", "Ledger", "Archive", "Search",
        "Payments", "HTTPCommon",
        "Catalog", "Intake", "Notifier", "Worker", "Mailer", "Webhooks", "Indexer", "Admin", "Web",
        "PaymentStub", "Audit", "LoadTest", "Capacity",
      ], path: "Sources/App", swiftSettings: strict,
      // Named here, it comes before libc and is the allocator of the whole process: a request is some hundred short
      // allocations, and takes an eighth less of the server than with libc's.
      linkerSettings: [.linkedLibrary("jemalloc")]),

    // Servers of their own for the tests of what speaks to them.
    .target(name: "TestServers", path: "Tests/Support/TestServers", swiftSettings: strict),
    .target(
      name: "TestDatabases", dependencies: ["EventLoop", "Logging", "Postgres", "Ledger", "TestServers"],
      path: "Tests/Support/TestDatabases", swiftSettings: strict),

    // Decoders of what comes from outside, for the fuzzer and for the tests that replay what it found.
    .target(
      name: "FuzzTargets",
      dependencies: [
        "Text", "JSON", "HTTPServer", "HTTPClient", "Postgres", "Sale", "Identity", "Search", "Queue",
        "HTTPCommon", "Catalog", "Admin",
      ], path: "Tests/Fuzz/FuzzTargets", swiftSettings: strict),
    tests("Fuzz", "FuzzTests", ["FuzzTargets"]),

    // Unit tests
    tests("Unit", "SaleTests", ["Sale"]),
    tests("Unit", "FaultInjectionTests", ["EventLoop", "FaultInjection"]),
    tests("Unit", "TextTests", ["Text"]),
    tests("Unit", "JSONTests", ["JSON"]),
    tests("Unit", "LoggingTests", ["Logging"]),
    tests("Unit", "LifecycleTests", ["EventLoop", "Logging", "Lifecycle"]),
    tests("Unit", "EventLoopTests", ["EventLoop"]),
    tests("Unit", "IdentityTests", ["CJWT", "EventLoop", "JSON", "Identity"]),
    tests("Unit", "WebTests", ["EventLoop", "HTTPServer", "Web"]),
    tests("Unit", "CommandTests", ["onsale"]),
    tests("Unit", "HTTPServerTests", ["EventLoop", "Logging", "Metrics", "JSON", "HTTPServer"]),
    tests("Unit", "HTTPClientTests", ["EventLoop", "Logging", "HTTPServer", "HTTPClient"]),
    tests("Unit", "SMTPClientTests", ["Text", "SMTPClient"]),
    tests(
      "Unit", "PaymentsTests",
      ["EventLoop", "Logging", "JSON", "HTTPClient", "Sale", "Payments", "PaymentStub"]),
    tests("Unit", "LoadTestTests", ["EventLoop", "JSON", "LoadTest"]),
    tests("Unit", "CapacityTests", ["JSON", "Sale", "Capacity"]),

    // Integration tests
    tests(
      "Integration", "APITests",
      [
        "EventLoop", "Text", "Logging", "Metrics", "JSON", "HTTPServer", "SMTPClient", "Redis", "Postgres",
        "Sale", "Identity", "StoreCommon", "Queue", "Ledger", "Archive", "Search", "HTTPCommon", "Catalog",
        "Intake", "Notifier", "Mailer",
        "Admin",
        "TestServers",
      ]),
    tests(
      "Integration", "StoreTests",
      [
        "EventLoop", "Logging", "Metrics", "Redis", "Postgres", "Sale", "StoreCommon", "Queue", "Ledger",
        "Archive", "TestDatabases",
        "TestServers",
      ]),
    tests(
      "Integration", "WorkerTests",
      [
        "EventLoop", "Logging", "Metrics", "Redis", "Postgres", "Sale", "StoreCommon", "Queue", "Ledger",
        "Archive", "Payments", "Worker",
        "TestDatabases", "TestServers",
      ]),
    tests(
      "Integration", "AuditTests",
      [
        "EventLoop", "Logging", "JSON", "Redis", "Postgres", "Sale", "StoreCommon", "Queue", "Ledger",
        "Archive", "Payments", "Audit",
        "TestDatabases", "TestServers",
      ]),
    tests(
      "Integration", "SearchTests",
      [
        "EventLoop", "Logging", "Metrics", "JSON", "HTTPClient", "Postgres", "Sale", "Search",
        "TestDatabases", "TestServers",
      ],
      exclude: ["judgements.tsv"]),
    tests(
      "Integration", "IndexerTests",
      [
        "EventLoop", "Logging", "Metrics", "Redis", "Postgres", "Sale", "Queue", "Ledger", "Archive",
        "Search", "Indexer",
        "TestDatabases", "TestServers",
      ]),
    tests("Integration", "RedisTests", ["EventLoop", "Logging", "Redis", "TestServers"]),
    tests("Integration", "PostgresTests", ["EventLoop", "Logging", "Postgres", "TestServers"]),
  ],
  swiftLanguageModes: [.v6],
  cxxLanguageStandard: .cxx17
)
