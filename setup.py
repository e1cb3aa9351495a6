"""What of the build `pyproject.toml` cannot say: the scenarios beside the packages go into the wheel as one of them."""

from setuptools import find_namespace_packages, setup

setup(
    packages=[
        *find_namespace_packages(include=["reference_server*", "simulator*", "benchmarks*"]),
        "simulator.shipped",
    ],
    package_dir={"simulator.shipped": "scenarios"},
)
