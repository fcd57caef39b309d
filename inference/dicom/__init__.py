"""From a study's files to one DWI and one ADC map: reading -> meaning -> choosing -> volumes, on frames and kinds."""
