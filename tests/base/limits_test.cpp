#include "base/limits.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>

#include "base/error.h"

namespace plimsoll {
namespace {

namespace fs = std::filesystem;

const std::string v1_unlimited = "9223372036854771712";

/// Another machine's /proc and /sys, in a temporary folder.
class FakeMachine : public testing::Test {
 protected:
  FakeMachine() {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    root_ = testing::TempDir() + "plimsoll_limits_" + test->name() + "_" + std::to_string(getpid());
    fs::remove_all(root_);
    write("/proc/meminfo",
          "MemTotal:       16777216 kB\nMemFree:         1048576 kB\n"
          "MemAvailable:    8388608 kB\n");  // 16 GiB, 1 GiB, 8 GiB
    write("/proc/self/status",
          "Name:\tx\nVmRSS:\t 30720 kB\nRssAnon:\t 20480 kB\n"
          "RssFile:\t 10240 kB\nRssShmem:\t 0 kB\n");
    write("/proc/self/cgroup", "0::/\n");
    write("/proc/self/mountinfo", "22 27 0:21 / /proc rw - proc proc rw\n");
  }
  ~FakeMachine() override { fs::remove_all(root_); }

  void write(const std::string& path, const std::string& text) {
    fs::create_directories(fs::path(root_ + path).parent_path());
    std::ofstream(root_ + path) << text;
  }
  /// A v1 memory group below the hierarchy's mount point.
  void v1_memory(const std::string& group, const std::string& limit, Bytes usage,
                 Bytes inactive_file, Bytes active_file) {
    const std::string directory = "/sys/fs/cgroup/memory" + group;
    write(directory + "/memory.limit_in_bytes", limit + "\n");
    write(directory + "/memory.usage_in_bytes", std::to_string(usage) + "\n");
    // The first two are the group's own, without its children: not to be taken.
    write(directory + "/memory.stat", "inactive_file 1\nactive_file 2\ntotal_inactive_file " +
                                          std::to_string(inactive_file) + "\ntotal_active_file " +
                                          std::to_string(active_file) + "\n");
  }
  void v2_memory(const std::string& group, const std::string& limit, Bytes usage,
                 Bytes inactive_file, Bytes active_file) {
    const std::string directory = "/sys/fs/cgroup" + group;
    write(directory + "/memory.max", limit + "\n");
    write(directory + "/memory.current", std::to_string(usage) + "\n");
    write(directory + "/memory.stat", "anon 123\nfile 999\ninactive_anon 5\ninactive_file " +
                                          std::to_string(inactive_file) + "\nactive_file " +
                                          std::to_string(active_file) + "\n");
  }
  void v1_cpu(const std::string& group, const std::string& quota, const std::string& period) {
    const std::string directory = "/sys/fs/cgroup/cpu,cpuacct" + group;
    write(directory + "/cpu.cfs_quota_us", quota + "\n");
    write(directory + "/cpu.cfs_period_us", period + "\n");
  }
  void mount_v1(const std::string& root = "/") {
    write("/proc/self/mountinfo",
          "35 31 0:31 " + root +
              " /sys/fs/cgroup/cpuset rw shared:9 - cgroup cgroup rw,cpuset\n"
              "36 31 0:32 " +
              root +
              " /sys/fs/cgroup/memory rw,relatime shared:17 - cgroup cgroup rw,memory\n"
              "37 31 0:33 " +
              root + " /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n");
  }
  void mount_v2(const std::string& root = "/") {
    write("/proc/self/mountinfo",
          "30 23 0:26 " + root + " /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n");
  }
  MachineLimits probe() { return probe_limits(root_); }

  std::string root_;
};

TEST_F(FakeMachine, WithoutGroupsTheMachineIsTheLimit) {
  const MachineLimits limits = probe();
  EXPECT_EQ(limits.memory_total, 16 * GiB);
  EXPECT_EQ(limits.memory_available, 8 * GiB);
  EXPECT_EQ(limits.group_limit, std::nullopt);
  EXPECT_EQ(limits.group_free, std::nullopt);
  EXPECT_EQ(limits.usable, 20 * MiB + 8 * GiB);
  EXPECT_EQ(limits.cpu_quota, std::nullopt);
  EXPECT_EQ(limits.default_threads, limits.processors);
}

TEST_F(FakeMachine, WithoutProcNothingIsGuessed) {
  fs::remove_all(root_ + "/proc");
  EXPECT_THROW(probe(), Error);
}

TEST_F(FakeMachine, OldKernelsWithoutMemAvailable) {
  write("/proc/meminfo", "MemTotal:       16777216 kB\nMemFree:         1048576 kB\n");
  EXPECT_EQ(probe().memory_available, GiB);
}

TEST_F(FakeMachine, V1Limit) {
  mount_v1();
  write("/proc/self/cgroup", "9:name=systemd:/\n4:memory:/job\n2:cpu,cpuacct:/job\n");
  v1_memory("/job", "2147483648", 1500 * MiB, 300 * MiB, 200 * MiB);
  v1_memory("", v1_unlimited, 9 * GiB, 0, 0);
  const MachineLimits limits = probe();
  EXPECT_EQ(limits.group_limit, 2 * GiB);
  EXPECT_EQ(limits.group_free, 2 * GiB - 1000 * MiB);
  EXPECT_EQ(limits.usable, 20 * MiB + 2 * GiB - 1000 * MiB);
}

TEST_F(FakeMachine, V1WithoutLimit) {
  mount_v1();
  write("/proc/self/cgroup", "4:memory:/job\n");
  v1_memory("/job", v1_unlimited, 1500 * MiB, 0, 0);
  v1_memory("", "9223372036854710272", 1500 * MiB, 0, 0);  // with pages of 64 KiB
  EXPECT_EQ(probe().group_limit, std::nullopt);
  EXPECT_EQ(probe().usable, 20 * MiB + 8 * GiB);
}

TEST_F(FakeMachine, V1NestedTightestWins) {
  mount_v1();
  write("/proc/self/cgroup", "4:memory:/a/b/c\n");
  v1_memory("/a/b/c", "4294967296", GiB, 0, 0);
  v1_memory("/a/b", "2147483648", 2 * GiB - 100 * MiB, 50 * MiB, 0);     // 150 MiB free
  v1_memory("/a", "3221225472", 3 * GiB - 80 * MiB, 10 * MiB, 5 * MiB);  // 95 MiB free
  v1_memory("", v1_unlimited, 9 * GiB, 0, 0);
  EXPECT_EQ(probe().group_limit, 2 * GiB);
  EXPECT_EQ(probe().group_free, 95 * MiB);
  EXPECT_EQ(probe().usable, 20 * MiB + 95 * MiB);
}

TEST_F(FakeMachine, V2LimitAndMax) {
  mount_v2();
  write("/proc/self/cgroup", "0::/user.slice/session.scope\n");
  v2_memory("/user.slice/session.scope", "max", 700 * MiB, 0, 0);
  v2_memory("/user.slice", "1073741824", 800 * MiB, 60 * MiB, 40 * MiB);
  const MachineLimits limits = probe();
  EXPECT_EQ(limits.group_limit, GiB);
  EXPECT_EQ(limits.group_free, GiB - 700 * MiB);
  v2_memory("/user.slice", "max", 800 * MiB, 0, 0);
  EXPECT_EQ(probe().group_limit, std::nullopt);
}

TEST_F(FakeMachine, UsageAboveTheLimitLeavesNothing) {
  mount_v2();
  write("/proc/self/cgroup", "0::/a\n");
  v2_memory("/a", "104857600", 200 * MiB, 10 * MiB, 0);
  EXPECT_EQ(probe().group_free, 0u);
  EXPECT_EQ(probe().usable, 20 * MiB);
  v2_memory("/a", "104857600", 20 * MiB, 30 * MiB, 0);  // the two files are not read at once
  EXPECT_EQ(probe().group_free, 100 * MiB);
}

TEST_F(FakeMachine, HybridWithMemoryOnV1) {
  write("/proc/self/mountinfo",
        "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n"
        "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
        "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n");
  write("/proc/self/cgroup", "4:memory:/job\n1:cpu:/\n0::/init.scope\n");
  write("/sys/fs/cgroup/unified/init.scope/cgroup.procs", "1\n");
  v1_memory("/job", "536870912", 100 * MiB, 0, 0);
  EXPECT_EQ(probe().group_limit, 512 * MiB);
  EXPECT_EQ(probe().group_free, 412 * MiB);
}

TEST_F(FakeMachine, HybridWithMemoryOnV2) {
  write("/proc/self/mountinfo",
        "41 31 0:38 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw\n"
        "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpuacct,cpu\n");
  write("/proc/self/cgroup", "1:cpu,cpuacct:/job\n0::/job\n");
  v2_memory("/job", "536870912", 100 * MiB, 0, 0);
  v1_cpu("/job", "100000", "100000");
  EXPECT_EQ(probe().group_limit, 512 * MiB);
  EXPECT_EQ(probe().cpu_quota, 1.0);
}

// Docker without a control group namespace: the mount shows the container's own group only.
TEST_F(FakeMachine, ContainerMountRoot) {
  mount_v1("/docker/0123abcd");
  write("/proc/self/cgroup", "4:memory:/docker/0123abcd\n2:cpu,cpuacct:/docker/0123abcd/inner\n");
  v1_memory("", "1073741824", 100 * MiB, 0, 0);
  v1_cpu("/inner", "150000", "100000");
  v1_cpu("", "300000", "100000");
  EXPECT_EQ(probe().group_limit, GiB);
  EXPECT_EQ(probe().cpu_quota, 1.5);
}

TEST_F(FakeMachine, ContainerWithNestedGroup) {
  mount_v2("/kubepods/pod1");
  write("/proc/self/cgroup", "0::/kubepods/pod1/worker\n");
  v2_memory("/worker", "max", 100 * MiB, 0, 0);
  v2_memory("", "268435456", 200 * MiB, 0, 0);
  EXPECT_EQ(probe().group_limit, 256 * MiB);
  EXPECT_EQ(probe().group_free, 56 * MiB);
}

// A group outside the namespace, or a mount whose root only resembles the group's path: the mount
// point is all that can be known.
TEST_F(FakeMachine, UnrelatedPathsFallBackToTheMountPoint) {
  for (const char* group : {"0::/../../elsewhere\n", "0::/kubepods/pod10/worker\n", "0::/\n"}) {
    mount_v2("/kubepods/pod1");
    write("/proc/self/cgroup", group);
    v2_memory("", "268435456", 200 * MiB, 0, 0);
    EXPECT_EQ(probe().group_limit, 256 * MiB) << group;
  }
  mount_v2("/");
  write("/proc/self/cgroup", "0::/../../elsewhere\n");
  EXPECT_EQ(probe().group_limit, 256 * MiB);
}

TEST_F(FakeMachine, MountPointsWithSpaces) {
  write("/proc/self/mountinfo", "30 23 0:26 / /my\\040groups rw - cgroup2 none rw\n");
  write("/proc/self/cgroup", "0::/a b:c\n");
  write("/my groups/a b:c/memory.max", "1048576\n");
  EXPECT_EQ(probe().group_limit, MiB);
}

TEST_F(FakeMachine, MalformedFilesAreNoLimit) {
  mount_v2();
  write("/proc/self/mountinfo", "garbage\n - \n1 2 3 - cgroup2\n" +
                                    std::string("30 23 0:26 / /sys/fs/cgroup rw - cgroup2 c rw\n"));
  write("/proc/self/cgroup", "nonsense\n0:\n0::/a\n");
  write("/sys/fs/cgroup/a/memory.max", "lots\n");
  write("/sys/fs/cgroup/a/cpu.max", "100000\n");
  EXPECT_EQ(probe().group_limit, std::nullopt);
  EXPECT_EQ(probe().cpu_quota, std::nullopt);
  write("/sys/fs/cgroup/a/memory.max", "1048576\n");  // and no memory.current
  EXPECT_EQ(probe().group_free, MiB);
}

TEST_F(FakeMachine, QuotasBecomeThreads) {
  cpu_set_t set;
  ASSERT_EQ(sched_getaffinity(0, sizeof set, &set), 0);
  const int processors = CPU_COUNT(&set);

  mount_v1();
  write("/proc/self/cgroup", "2:cpu,cpuacct:/job\n");
  const struct {
    const char* quota;
    std::optional<double> processors;
    int threads;
  } cases[] = {
      {"-1", std::nullopt, processors},
      {"50000", 0.5, 1},
      {"100000", 1.0, 1},
      {"199999", 1.99999, 1},
      {"200000", 2.0, std::min(2, processors)},
      {"100000000", 1000.0, processors},
  };
  for (const auto& c : cases) {
    v1_cpu("/job", c.quota, "100000");
    const MachineLimits limits = probe();
    EXPECT_EQ(limits.cpu_quota, c.processors) << c.quota;
    EXPECT_EQ(limits.default_threads, c.threads) << c.quota;
    EXPECT_EQ(limits.processors, processors);
  }
  v1_cpu("/job", "100000", "0");
  EXPECT_EQ(probe().cpu_quota, std::nullopt);

  mount_v2();
  write("/proc/self/cgroup", "0::/a/b\n");
  write("/sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
  EXPECT_EQ(probe().cpu_quota, std::nullopt);
  write("/sys/fs/cgroup/a/cpu.max", "50000 100000\n");
  EXPECT_EQ(probe().cpu_quota, 0.5);
  write("/sys/fs/cgroup/a/b/cpu.max", "10000 100000\n");
  EXPECT_EQ(probe().cpu_quota, 0.1);
  EXPECT_EQ(probe().default_threads, 1);
}

TEST(Limits, ThisMachineIsPlausible) {
  const MachineLimits limits = probe_limits();
  EXPECT_GT(limits.memory_total, 64 * MiB);
  EXPECT_LE(limits.memory_available, limits.memory_total);
  EXPECT_GT(limits.usable, 0u);
  EXPECT_LE(limits.usable, limits.memory_total + 64 * MiB);
  EXPECT_GE(limits.processors, 1);
  EXPECT_GE(limits.default_threads, 1);
  EXPECT_LE(limits.default_threads, limits.processors);
  EXPECT_EQ(limits.group_limit.has_value(), limits.group_free.has_value());
  EXPECT_LE(limits.group_free.value_or(0), limits.group_limit.value_or(0));
}

}  // namespace
}  // namespace plimsoll
