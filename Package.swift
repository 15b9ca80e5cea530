// swift-tools-version: 6.2
import PackageDescription

// One folder under Sources is one module. Dependencies point down only, in this order:
// the executable, the roles, what roles share (Store, Search, Payments, API, Auth), the domain,
// clients and servers, foundations, C libraries.

let strict: [SwiftSetting] = [
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
  .treatAllWarnings(as: .error),
  // Every module has Swift 6's data race safety checked when it is built. What comes in from C goes through
  // `LoopActor.assumeIsolated`, which checks where it runs; checking again in each closure costs a tenth of a poll.
  .unsafeFlags(["-Xfrontend", "-disable-dynamic-actor-isolation"]),
  // Tests look inside modules; with this, they run against the very build that ships, not a second one.
  .unsafeFlags(["-enable-testing"], .when(configuration: .release)),
]

func module(_ name: String, _ dependencies: [String], resources: [Resource]? = nil) -> Target {
  .target(
    name: name, dependencies: dependencies.map { .byName(name: $0) }, resources: resources,
    swiftSettings: strict)
}

func tests(_ name: String, _ dependencies: [String], exclude: [String] = []) -> Target {
  .testTarget(
    name: name, dependencies: dependencies.map { .byName(name: $0) }, exclude: exclude,
    swiftSettings: strict)
}

func library(_ name: String, _ pkgConfig: String, debian: String) -> Target {
  .systemLibrary(name: name, pkgConfig: pkgConfig, providers: [.apt([debian])])
}

let foundations = ["EventLoop", "Logging", "Metrics", "Text"]
let domain = ["Onsale"]
let shared = foundations + ["JSON", "HTTPServer", "Auth", "API", "Onsale", "Store"]

let package = Package(
  name: "onsale",
  targets: [
    // C libraries, from Debian.
    library("CLibUV", "libuv", debian: "libuv1-dev"),
    .systemLibrary(name: "CHTTPParser", providers: [.apt(["libhttp-parser-dev"])]),
    library("CHiredis", "hiredis", debian: "libhiredis-dev"),
    library("CLibPQ", "libpq", debian: "libpq-dev"),
    library("CCurl", "libcurl", debian: "libcurl4-openssl-dev"),
    library("CJWT", "librhonabwy", debian: "librhonabwy-dev"),
    library("CSodium", "libsodium", debian: "libsodium-dev"),
    library("CZlib", "zlib", debian: "zlib1g-dev"),
    library("CBrotli", "libbrotlienc", debian: "libbrotli-dev"),
    // A library of C++ headers, from Debian's rapidjson-dev, behind functions of C.
    .target(name: "CRapidJSON", cxxSettings: [.unsafeFlags(["-O2", "-gdwarf-4"])]),

    // A hook of Swift's runtime that has no name in Swift.
    .target(name: "CSwiftJobs", cSettings: [.unsafeFlags(["-O2", "-gdwarf-4"])]),

    // Foundations.
    module("EventLoop", ["CLibUV", "CSwiftJobs"]),
    module("Text", []),
    module("Logging", ["Text"]),
    module("Metrics", ["EventLoop"]),
    module("Lifecycle", ["EventLoop", "Logging", "CLibUV"]),
    module("Faults", ["EventLoop", "Logging"]),
    module("JSON", ["CRapidJSON"]),

    // One client or server each; no word of the domain in them.
    module("HTTPServer", foundations + ["Lifecycle", "JSON", "CHTTPParser"]),
    module("HTTPClient", foundations + ["CCurl"]),
    module("Redis", foundations + ["CHiredis"]),
    module("Postgres", foundations + ["CLibPQ"]),

    // The domain: pure, no input or output, no C.
    module("Onsale", []),

    // What roles share.
    module("Auth", ["EventLoop", "JSON", "CJWT", "CSodium"]),
    module("Store", foundations + ["Onsale", "Redis", "Postgres", "JSON", "CSodium"]),
    module("Search", foundations + ["Onsale", "Postgres", "HTTPClient", "JSON"]),
    module("Payments", foundations + ["HTTPClient", "JSON", "Onsale"]),
    module(
      "API", foundations + ["HTTPServer", "Auth", "JSON", "Onsale", "Store", "Redis", "Postgres"],
      resources: [.embedInCode("Resources")]),

    // One role each.
    module("Catalog", shared + ["Search"]),
    module("Intake", shared + ["Faults"]),
    module("Notifier", shared),
    module(
      "Worker", foundations + ["Lifecycle", "Faults", "Onsale", "Store", "Payments", "Postgres", "Redis"]),
    module("Indexer", foundations + ["Lifecycle", "Faults", "Onsale", "Store", "Search"]),
    module("PaymentStub", foundations + ["Lifecycle", "JSON", "HTTPServer", "HTTPClient", "Auth", "Onsale"]),
    module("Admin", shared + ["HTTPClient", "Payments"]),
    module(
      "Web", ["EventLoop", "HTTPServer", "Onsale", "Text", "CZlib", "CBrotli"],
      resources: [.embedInCode("Assets")]),
    module(
      "Audit", foundations + ["JSON", "HTTPClient", "Redis", "Postgres", "Onsale", "Store", "Payments"]),
    module("Rush", foundations + ["JSON", "HTTPClient", "Redis", "Postgres", "Auth", "Onsale", "Audit"]),

    .executableTarget(
      name: "onsale",
      dependencies: [
        "EventLoop", "Logging", "Metrics", "Lifecycle", "Faults", "JSON", "HTTPServer", "HTTPClient", "Redis",
        "Postgres", "Onsale", "Auth", "Store", "Search", "Payments", "API", "Catalog", "Intake",
        "Notifier", "Worker", "Indexer", "PaymentStub", "Admin", "Web", "Audit", "Rush",
      ],
      swiftSettings: strict,
      // Named here, it comes before libc and is the allocator of the whole process: a request is some hundred short
      // allocations, and takes an eighth less of the server than with libc's.
      linkerSettings: [.linkedLibrary("jemalloc")]),

    // Tests.
    tests("FaultsTests", ["EventLoop", "Faults"]),
    tests("OnsaleTests", ["Onsale"]),
    tests("AuthTests", ["Auth", "EventLoop", "JSON", "CJWT"]),
    tests("HTTPServerTests", foundations + ["JSON", "HTTPServer"]),
    tests("HTTPClientTests", foundations + ["HTTPServer", "HTTPClient"]),
    tests(
      "PaymentsTests",
      foundations + ["JSON", "HTTPServer", "HTTPClient", "Onsale", "Payments", "PaymentStub"]),
    tests("WebTests", ["Web", "EventLoop", "HTTPServer", "Onsale"]),

    tests(
      "APITests",
      shared + ["Redis", "Postgres", "Search", "Catalog", "Admin", "Intake", "Notifier", "TestServers"]),

    // Servers of their own for the tests of what speaks to them.
    .target(name: "TestServers", path: "Tests/TestServers", swiftSettings: strict),
    tests(
      "WorkerTests",
      foundations + ["Onsale", "Payments", "Postgres", "Redis", "Store", "Worker", "TestServers"]),
    tests(
      "AuditTests",
      foundations + ["Audit", "JSON", "Onsale", "Payments", "Postgres", "Redis", "Store", "TestServers"]),
    tests("RushTests", ["Rush", "Audit", "JSON", "EventLoop"]),
    tests(
      "SearchTests", foundations + ["HTTPClient", "Postgres", "Onsale", "JSON", "Search", "TestServers"],
      exclude: ["judgements.tsv"]),
    tests("EventLoopTests", ["EventLoop"]),
    tests("CommandTests", ["onsale"]),
    tests("TextTests", ["Text"]),
    tests("LoggingTests", ["Logging"]),
    tests("JSONTests", ["JSON"]),
    tests("LifecycleTests", ["EventLoop", "Logging", "Lifecycle"]),
    tests(
      "IndexerTests",
      foundations + ["Lifecycle", "Onsale", "Store", "Search", "Postgres", "Redis", "Indexer", "TestServers"]),
    tests("RedisTests", foundations + ["Redis", "TestServers"]),
    tests("PostgresTests", foundations + ["Postgres", "TestServers"]),
    tests("StoreTests", foundations + ["Redis", "Postgres", "Onsale", "Store", "TestServers"]),
  ],
  swiftLanguageModes: [.v6],
  cxxLanguageStandard: .cxx17
)
